/*
 * QTest testcase for IOMMUs when their buses are unplugged
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest powers off a slot that contains a switch or a bridge (PCI Express
 * Base Specification 5.0, 6.7.1). Afterwards the IOMMU must not access the
 * removed buses, whatever the guest invalidates, and must release its state
 * for them.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "standard-headers/linux/virtio_iommu.h"
#include "hw/i386/amd_iommu.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/viommu.h"
#include "libqos/vtd.h"

#define PORT        QATD_BDF(0, 5, 0)
#define SLOT        QATD_BDF(1, 0, 0)
#define UP          SLOT
#define DOWN0       QATD_BDF(2, 0, 0)
#define DOWN1       QATD_BDF(2, 1, 0)
#define DEV0        QATD_BDF(3, 0, 0)
#define DEV1        QATD_BDF(4, 0, 0)
/*
 * A bridge in the slot, a function behind it, and the source id of its
 * requests
 */
#define BEHIND      QATD_BDF(2, 1, 0)
#define ALIAS       QATD_BDF(2, 0, 0)
#define LAST_BUS    4
#define NO_BUS      9

#define PASID       5
#define IOVA        0x40000000ULL
#define PAGE        0x1000ULL
#define MARK        0x5a5a5a5a00000000ULL
#define ROUNDS      6

#define MACHINE     "-M q35 -nodefaults -m 256M -global ICH9-LPC." \
                    "acpi-pci-hotplug-with-bridge-support=off " \
                    "-device pcie-root-port,id=rp,addr=5,chassis=1 "
#define SWITCH      "-device x3130-upstream,id=up,bus=rp,addr=0 " \
                    "-device xio3130-downstream,id=down0,bus=up,addr=0," \
                    "chassis=2 " \
                    "-device xio3130-downstream,id=down1,bus=up,addr=1," \
                    "chassis=3 " \
                    "-device pci-ats-testdev,id=dev0,bus=down0,addr=0 " \
                    "-device pci-ats-testdev,id=dev1,bus=down1,addr=0 "

typedef struct Fixture Fixture;

/* An IOMMU, and its driver */
typedef struct IOMMU {
    const char *name;
    const char *args;
    /* Prefix of the names of address spaces */
    const char *space;
    void (*start)(Fixture *f);
    void (*stop)(Fixture *f);
    /* Map IOVA to @page for a source id without mappings */
    void (*attach)(Fixture *f, uint16_t sid, uint64_t page);
    /*
     * Make the IOMMU keep all state that it can have for the device; may be
     * NULL
     */
    void (*watch)(Fixture *f, QATD *d);
    /* Invalidate everything that can be invalidated */
    void (*invalidate)(Fixture *f);
} IOMMU;

struct Fixture {
    const IOMMU *iommu;
    QTestState *qts;
    QGuestAllocator alloc;
    union {
        QVtd vtd;
        QViommu viommu;
        struct {
            uint64_t devtab;
            uint64_t cmdbuf;
            unsigned tail;
        } amd;
    };
};

/* Register all notifiers for a PASID, and translate IOVA */
static void listen_for(QATD *d, uint32_t pasid)
{
    QATDResult r;

    qatd_enable_all(d, 8);
    g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_IOTLB, pasid, 0, 0, 0), ==,
                    0);
    g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_PRI, pasid, 0, 0, 0), ==,
                    0);
    g_assert_cmpint(qatd_translate(d, pasid, IOVA, 8, 0, &r, 1), ==, 1);
}

/* ---- Intel ---- */

static void vtd_start(Fixture *f)
{
    qvtd_init(&f->vtd, f->qts, &f->alloc);
    f->vtd.scalable = true;
    qvtd_enable(&f->vtd);
}

static void vtd_stop(Fixture *f)
{
}

/* First-stage tables, for requests with PASID and without (9.4, 9.6, 9.7) */
static void vtd_attach(Fixture *f, uint16_t sid, uint64_t page)
{
    const uint64_t rw = 0x67;   /* P, R/W, U/S, A, D */
    uint64_t dir = qvtd_sm_attach(&f->vtd, sid, VTD_SM_CONTEXT_ENTRY_DTE |
                                  VTD_SM_CONTEXT_ENTRY_PASIDE |
                                  VTD_SM_CONTEXT_ENTRY_PRE, 0);
    uint64_t table = qvtd_new_table(&f->vtd);
    uint32_t pasid;

    qvtd_map_entry(&f->vtd, table, 4, IOVA, PAGE, page | rw, rw);
    for (pasid = 0; pasid <= PASID; pasid += PASID) {
        qvtd_sm_pasid(&f->vtd, dir, pasid,
                      VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT,
                      sid | VTD_SM_PASID_ENTRY_PWSNP, table);
    }
    qvtd_inv_global(&f->vtd);
}

static void vtd_watch(Fixture *f, QATD *d)
{
    listen_for(d, PASID);
    listen_for(d, QATD_NO_PASID);
}

/* 6.5.2.1 to 6.5.2.6, and 7.6.1 */
static void vtd_invalidate(Fixture *f)
{
    unsigned bus;

    qvtd_inv_global(&f->vtd);
    for (bus = 0; bus <= LAST_BUS; bus++) {
        uint16_t sid = QATD_BDF(bus, 0, 0);

        qvtd_inv_domain(&f->vtd, sid);
        qvtd_inv_pages(&f->vtd, sid, IOVA, 0);
        qvtd_inv_pasid(&f->vtd, sid, PASID);
        qvtd_inv_pasid_pages(&f->vtd, sid, PASID, IOVA, 0);
        qvtd_inv_device_tlb(&f->vtd, sid, IOVA, false);
        qvtd_submit(&f->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DEVICE |
                    (uint64_t)sid << 32 | (uint64_t)sid << 16, 0);
        qvtd_submit(&f->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DOMAIN |
                    (uint64_t)sid << 16, 0);
    }
}

/* ---- AMD ---- */

/* I of a device table entry, and GN of commands (48882, 2.2.2.1 and 2.4) */
#define AMD_DTE_I   (1ULL << 32)
#define AMD_GN      (1ULL << 2)

static void amd_write(Fixture *f, uint64_t reg, uint64_t val)
{
    qtest_writeq(f->qts, AMDVI_BASE_ADDR + reg, val);
}

static uint64_t zeroed(Fixture *f, uint64_t size)
{
    return guest_alloc_zeroed(&f->alloc, f->qts, size);
}

static void amd_start(Fixture *f)
{
    uint64_t size = (LAST_BUS + 1) * 256 * AMDVI_DEVTAB_ENTRY_SIZE;

    f->amd.devtab = zeroed(f, size);
    f->amd.cmdbuf = zeroed(f, AMDVI_PAGE_SIZE);
    f->amd.tail = 0;
    amd_write(f, AMDVI_MMIO_DEVICE_TABLE,
              f->amd.devtab | (size / AMDVI_PAGE_SIZE - 1));
    /* 256 commands */
    amd_write(f, AMDVI_MMIO_COMMAND_BASE, f->amd.cmdbuf | 8ULL << 56);
    amd_write(f, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN |
              AMDVI_MMIO_CONTROL_CMDBUFLEN);
}

static void amd_stop(Fixture *f)
{
}

static void amd_command(Fixture *f, unsigned op, uint64_t lo, uint64_t hi)
{
    uint64_t cmd = f->amd.cmdbuf + f->amd.tail;

    qtest_writeq(f->qts, cmd, lo | (uint64_t)op << 60);
    qtest_writeq(f->qts, cmd + 8, hi);
    f->amd.tail = (f->amd.tail + AMDVI_COMMAND_SIZE) % AMDVI_PAGE_SIZE;
    amd_write(f, AMDVI_MMIO_COMMAND_TAIL, f->amd.tail);
    g_assert_cmphex(qtest_readq(f->qts, AMDVI_BASE_ADDR +
                                AMDVI_MMIO_COMMAND_HEAD), ==, f->amd.tail);
}

static void amd_attach(Fixture *f, uint16_t sid, uint64_t page)
{
    const uint64_t rw = AMDVI_DEV_PERM_READ | AMDVI_DEV_PERM_WRITE;
    uint64_t dte = f->amd.devtab + sid * AMDVI_DEVTAB_ENTRY_SIZE;
    uint64_t table = zeroed(f, AMDVI_PAGE_SIZE), below;
    unsigned level;

    qtest_writeq(f->qts, dte + 8, sid | AMD_DTE_I);
    qtest_writeq(f->qts, dte, AMDVI_DEV_VALID | AMDVI_DEV_TRANSLATION_VALID |
                 rw | 3ULL << AMDVI_DEV_MODE_RSHIFT | table);
    for (level = 3; level > 0; level--) {
        below = level == 1 ? page : zeroed(f, AMDVI_PAGE_SIZE);
        qtest_writeq(f->qts, table + (IOVA >> (3 + 9 * level) & 0x1ff) * 8,
                     1 | rw | below |
                     (uint64_t)(level - 1) << AMDVI_DEV_MODE_RSHIFT);
        table = below;
    }
    amd_command(f, AMDVI_CMD_INVAL_DEVTAB_ENTRY, sid, 0);
    amd_command(f, AMDVI_CMD_INVAL_AMDVI_ALL, 0, 0);
}

/* There are no guest tables, so that requests with a PASID are blocked. */
static void amd_watch(Fixture *f, QATD *d)
{
    listen_for(d, QATD_NO_PASID);
    listen_for(d, PASID);
}

static void amd_invalidate(Fixture *f)
{
    unsigned bus;

    amd_command(f, AMDVI_CMD_INVAL_AMDVI_ALL, 0, 0);
    for (bus = 0; bus <= LAST_BUS; bus++) {
        uint64_t sid = QATD_BDF(bus, 0, 0);

        amd_command(f, AMDVI_CMD_INVAL_DEVTAB_ENTRY, sid, 0);
        amd_command(f, AMDVI_CMD_INVAL_AMDVI_PAGES, sid << 32, IOVA);
        amd_command(f, AMDVI_CMD_INVAL_IOTLB_PAGES, sid, IOVA);
        amd_command(f, AMDVI_CMD_INVAL_IOTLB_PAGES,
                    sid | (uint64_t)PASID << 48, IOVA | AMD_GN);
        amd_command(f, AMDVI_CMD_COMPLETE_PPR_REQUEST, sid, 0);
        amd_command(f, AMDVI_CMD_COMPLETE_PPR_REQUEST,
                    sid | (uint64_t)PASID << 32, AMD_GN);
        amd_command(f, AMDVI_CMD_INVAL_INTR_TABLE, sid, 0);
    }
}

/* ---- virtio ---- */

static void viommu_start(Fixture *f)
{
    qviommu_init(&f->viommu, f->qts, &f->alloc, QPCI_DEVFN(7, 0));
}

static void viommu_stop(Fixture *f)
{
    qviommu_cleanup(&f->viommu);
}

/* Attach a new domain, which has no mappings */
static void viommu_attach(Fixture *f, uint16_t sid, uint64_t page)
{
    g_assert_cmpuint(qviommu_attach(&f->viommu, sid, sid, 0), ==,
                     VIRTIO_IOMMU_S_OK);
    g_assert_cmpuint(qviommu_map(&f->viommu, sid, IOVA, IOVA + PAGE - 1, page),
                     ==, VIRTIO_IOMMU_S_OK);
}

/*
 * Send requests for a bus that does not exist, and for mappings of endpoints
 * that may be removed (VIRTIO 1.3, 5.13.6.3 to 5.13.6.6)
 */
static void viommu_invalidate(Fixture *f)
{
    bool empty = qecam_readl(f->qts, SLOT, PCI_VENDOR_ID) == UINT32_MAX;
    unsigned bus;

    g_assert_cmpuint(qviommu_attach(&f->viommu, NO_BUS, QATD_BDF(NO_BUS, 0, 0),
                                    0), ==, VIRTIO_IOMMU_S_NOENT);
    for (bus = 1; bus <= LAST_BUS; bus++) {
        uint16_t sid = QATD_BDF(bus, 0, 0);

        qviommu_map(&f->viommu, sid, 0, PAGE - 1, 0);
        qviommu_unmap(&f->viommu, sid, 0, PAGE - 1);
        /* The bus behind the root port remains, with its endpoint */
        if (bus > 1 && empty) {
            g_assert_cmpuint(qviommu_detach(&f->viommu, sid, sid), ==,
                             VIRTIO_IOMMU_S_NOENT);
        }
    }
}

static const IOMMU iommus[] = {
    {
        .name = "intel-iommu",
        .args = "-device intel-iommu,svm=on ",
        .space = "address-space: vtd-root",
        .start = vtd_start,
        .stop = vtd_stop,
        .attach = vtd_attach,
        .watch = vtd_watch,
        .invalidate = vtd_invalidate,
    }, {
        .name = "amd-iommu",
        .args = "-device amd-iommu,svm=on ",
        .space = "address-space: amd_iommu_devfn_",
        .start = amd_start,
        .stop = amd_stop,
        .attach = amd_attach,
        .watch = amd_watch,
        .invalidate = amd_invalidate,
    }, {
        .name = "virtio-iommu",
        .args = "-device virtio-iommu-pci,addr=7 ",
        .space = "address-space: virtio-iommu-device",
        .start = viommu_start,
        .stop = viommu_stop,
        .attach = viommu_attach,
        .invalidate = viommu_invalidate,
    },
};

/* ---- Common ---- */

static void fixture_start(Fixture *f, const IOMMU *iommu, const char *args)
{
    *f = (Fixture) { .iommu = iommu };
    f->qts = qtest_initf(MACHINE "%s %s", iommu->args, args);
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qecam_setup_bridge(f->qts, PORT, 1, LAST_BUS);
    iommu->start(f);
}

static void fixture_stop(Fixture *f)
{
    f->iommu->stop(f);
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

static unsigned count_spaces(Fixture *f)
{
    g_autofree char *mtree = qtest_hmp(f->qts, "info mtree");
    const char *p = mtree;
    unsigned n = 0;

    while ((p = strstr(p, f->iommu->space))) {
        p++;
        n++;
    }
    return n;
}

static void slot_control(Fixture *f, uint16_t val)
{
    qecam_writew(f->qts, PORT,
                 qecam_cap(f->qts, PORT, PCI_CAP_ID_EXP) + PCI_EXP_SLTCTL, val);
}

static void slot_on(Fixture *f)
{
    slot_control(f, PCI_EXP_SLTCTL_PWR_ON | PCI_EXP_SLTCTL_PWR_IND_ON);
}

static void wait_deleted(Fixture *f, const char *const *ids)
{
    unsigned left = g_strv_length((char **)ids);

    while (left) {
        QDict *event = qtest_qmp_eventwait_ref(f->qts, "DEVICE_DELETED");
        const char *id = qdict_get_try_str(qdict_get_qdict(event, "data"),
                                           "device");

        if (id && g_strv_contains(ids, id)) {
            left--;
        }
        qobject_unref(event);
    }
}

/*
 * Unplug the device in the slot, @ids[0], and all devices behind it, with the
 * guest's part of the protocol
 */
static void eject(Fixture *f, const char *const *ids)
{
    qtest_qmp_device_del_send(f->qts, ids[0]);
    slot_control(f, PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
    wait_deleted(f, ids);
    g_assert_cmphex(qecam_readl(f->qts, SLOT, PCI_VENDOR_ID), ==, UINT32_MAX);
}

static const char *const switch_ids[] = {
    "up", "down0", "down1", "dev0", "dev1", NULL
};
static const char *const bridge_ids[] = { "br", "dev0", "dev1", NULL };
static const char *const function_ids[] = { "dev0", NULL };

/* Let the device @bdf, which sends requests as @sid, read a page of its own */
static void check_traffic(Fixture *f, uint16_t bdf, uint16_t sid,
                          unsigned index)
{
    uint64_t page = zeroed(f, PAGE);
    QATD d;

    qatd_init(&d, f->qts, bdf, index);
    qtest_writeq(f->qts, page, MARK | page);
    f->iommu->attach(f, sid, page);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA, 8,
                                 0), ==, 0);
    g_assert_cmphex(qtest_readq(f->qts, d.data), ==, MARK | page);
    if (f->iommu->watch && d.ats) {
        f->iommu->watch(f, &d);
    }
}

/*
 * A switch with functions below is ejected, and a function is plugged instead
 */
static void test_switch(const void *opaque)
{
    unsigned spaces;
    Fixture f;

    fixture_start(&f, opaque, SWITCH);
    qecam_setup_bridge(f.qts, UP, 2, LAST_BUS);
    qecam_setup_bridge(f.qts, DOWN0, 3, 3);
    qecam_setup_bridge(f.qts, DOWN1, 4, 4);
    check_traffic(&f, DEV0, DEV0, 0);
    check_traffic(&f, DEV1, DEV1, 1);
    spaces = count_spaces(&f);

    eject(&f, switch_ids);
    /* Four functions have been removed with the switch */
    g_assert_cmpuint(count_spaces(&f), ==, spaces - 4);
    f.iommu->invalidate(&f);

    qtest_qmp_device_add(f.qts, "pci-ats-testdev", "dev0", "{ 'bus': 'rp' }");
    slot_on(&f);
    check_traffic(&f, SLOT, SLOT, 0);
    g_assert_cmpuint(count_spaces(&f), ==, spaces - 4);
    eject(&f, function_ids);
    f.iommu->invalidate(&f);
    fixture_stop(&f);
}

/*
 * A bridge is plugged and ejected repeatedly, with two functions behind it
 * that share a source id (PCI Express to PCI/PCI-X Bridge Specification 1.0,
 * 2.3)
 */
static void test_bridge(const void *opaque)
{
    unsigned spaces = 0, round;
    Fixture f;

    fixture_start(&f, opaque, "");
    for (round = 0; round < ROUNDS; round++) {
        qtest_qmp_device_add(f.qts, "pcie-pci-bridge", "br", "{ 'bus': 'rp' }");
        slot_on(&f);
        qtest_qmp_device_add(f.qts, "pci-ats-testdev", "dev0",
                             "{ 'bus': 'br', 'addr': '1' }");
        qtest_qmp_device_add(f.qts, "pci-ats-testdev", "dev1",
                             "{ 'bus': 'br', 'addr': '2' }");
        qecam_setup_bridge(f.qts, SLOT, 2, 2);
        check_traffic(&f, BEHIND, ALIAS, 0);
        f.iommu->invalidate(&f);
        if (round) {
            g_assert_cmpuint(count_spaces(&f), ==, spaces + 1);
        }

        eject(&f, bridge_ids);
        if (!round) {
            spaces = count_spaces(&f);
        }
        g_assert_cmpuint(count_spaces(&f), ==, spaces);
        f.iommu->invalidate(&f);
    }
    fixture_stop(&f);
}

/* The machine is reset after buses are removed */
static void test_reset(const void *opaque)
{
    Fixture f;

    fixture_start(&f, opaque, SWITCH);
    eject(&f, switch_ids);
    qtest_system_reset(f.qts);
    f.iommu->stop(&f);
    alloc_destroy(&f.alloc);

    qecam_enable(f.qts);
    pc_alloc_init(&f.alloc, f.qts, ALLOC_NO_FLAGS);
    qecam_setup_bridge(f.qts, PORT, 1, LAST_BUS);
    f.iommu->start(&f);
    qtest_qmp_device_add(f.qts, "pci-ats-testdev", "dev0", "{ 'bus': 'rp' }");
    slot_on(&f);
    check_traffic(&f, SLOT, SLOT, 0);
    f.iommu->invalidate(&f);
    fixture_stop(&f);
}

/* QMP may create an object of any type to list its properties */
static void test_list_properties(void)
{
    static const char *const types[] = {
        "intel-iommu-address-space", "amd-iommu-address-space",
        "virtio-iommu-address-space",
    };
    QTestState *qts = qtest_init("-M none");

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        qobject_unref(qtest_qmp_assert_success_ref(qts, "{ 'execute': "
            "'qom-list-properties', 'arguments': { 'typename': %s } }",
            types[i]));
    }
    qtest_quit(qts);
}

static void add(const char *name, const IOMMU *iommu, GTestDataFunc fn)
{
    g_autofree char *path = g_strdup_printf("/iommu-hotplug/%s/%s",
                                            iommu->name, name);

    qtest_add_data_func(path, iommu, fn);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(iommus); i++) {
        add("switch", &iommus[i], test_switch);
        add("bridge", &iommus[i], test_bridge);
        add("reset", &iommus[i], test_reset);
    }
    qtest_add_func("/iommu-hotplug/list-properties", test_list_properties);
    return g_test_run();
}
