/*
 * QTest testcase for ATS below bridges, switches and expander buses
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The IOMMU must see the requests of a function under the right source id, and
 * its invalidations must reach the function, on all buses (PCI Express Base
 * Specification 5.0, 2.2.6.2; for bridges to conventional PCI, PCI Express to
 * PCI/PCI-X Bridge Specification 1.0, 2.3).
 *
 * Each test sets up a context entry for only one source id; VT-d blocks the
 * requests of all others.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define IOVA        0x40000000ULL
#define DOMAIN      7
#define NR_BUSES    4

typedef struct Topology {
    const char *name;
    const char *args;
    /* Bridges to the device, outermost first: 0 ends the list */
    struct {
        uint16_t bdf;
        uint8_t secondary;
        uint8_t subordinate;
    } bridges[NR_BUSES];
    uint16_t bdf;               /* of the device */
    uint16_t sid;               /* source id in the IOMMU */
    bool conventional;
} Topology;

static const Topology topologies[] = {
    {
        .name = "root-bus",
        .args = "-device pci-ats-testdev,addr=4",
        .bdf = QATD_BDF(0, 4, 0),
        .sid = QATD_BDF(0, 4, 0),
    }, {
        .name = "root-port",
        .args = "-device pcie-root-port,id=rp,addr=5,chassis=1 "
                "-device pci-ats-testdev,bus=rp,addr=0",
        .bridges = { { QATD_BDF(0, 5, 0), 3, 3 } },
        .bdf = QATD_BDF(3, 0, 0),
        .sid = QATD_BDF(3, 0, 0),
    }, {
        .name = "switch",
        .args = "-device pcie-root-port,id=rp,addr=5,chassis=1 "
                "-device x3130-upstream,id=up,bus=rp,addr=0 "
                "-device xio3130-downstream,id=down0,bus=up,addr=0,chassis=2 "
                "-device xio3130-downstream,id=down1,bus=up,addr=1,chassis=3 "
                "-device pci-ats-testdev,bus=down1,addr=0",
        .bridges = {
            { QATD_BDF(0, 5, 0), 1, 4 },
            { QATD_BDF(1, 0, 0), 2, 4 },
            { QATD_BDF(2, 0, 0), 3, 3 },
            { QATD_BDF(2, 1, 0), 4, 4 },
        },
        .bdf = QATD_BDF(4, 0, 0),
        .sid = QATD_BDF(4, 0, 0),
    }, {
        .name = "pxb-pcie",
        .args = "-device pxb-pcie,id=pxb,bus_nr=64,bus=pcie.0,addr=6 "
                "-device pcie-root-port,id=rp,bus=pxb,addr=2,chassis=1 "
                "-device pci-ats-testdev,bus=rp,addr=0",
        .bridges = { { QATD_BDF(64, 2, 0), 65, 65 } },
        .bdf = QATD_BDF(65, 0, 0),
        .sid = QATD_BDF(65, 0, 0),
    }, {
        /*
         * The bridge sends the requests from its secondary bus, as 00.0 of
         * that bus
         */
        .name = "pcie-pci-bridge",
        .args = "-device pcie-root-port,id=rp,addr=5,chassis=1 "
                "-device pcie-pci-bridge,id=br,bus=rp,addr=0 "
                "-device pci-ats-testdev,bus=br,addr=3",
        .bridges = {
            { QATD_BDF(0, 5, 0), 1, 2 },
            { QATD_BDF(1, 0, 0), 2, 2 },
        },
        .bdf = QATD_BDF(2, 3, 0),
        .sid = QATD_BDF(2, 0, 0),
        .conventional = true,
    },
};

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    uint64_t sspt;
    uint64_t page;
    QATD dev;
} Fixture;

static void fixture_start(Fixture *f, const Topology *t, uint16_t sid)
{
    QTestState *qts = qtest_initf("-M q35 -nodefaults -m 256M "
                                  "-device intel-iommu,device-iotlb=on %s",
                                  t->args);
    int i;

    f->qts = qts;
    qecam_enable(qts);
    for (i = 0; i < NR_BUSES && t->bridges[i].bdf; i++) {
        qecam_setup_bridge(qts, t->bridges[i].bdf, t->bridges[i].secondary,
                           t->bridges[i].subordinate);
    }
    qatd_init(&f->dev, qts, t->bdf, 0);
    if (!t->conventional) {
        qatd_enable_all(&f->dev, 8);
    }

    pc_alloc_init(&f->alloc, qts, ALLOC_NO_FLAGS);
    qvtd_init(&f->vtd, qts, &f->alloc);
    f->sspt = qvtd_new_table(&f->vtd);
    f->page = qvtd_new_table(&f->vtd);
    qvtd_map(&f->vtd, f->sspt, IOVA, f->page, 4096);
    qvtd_attach(&f->vtd, sid, DOMAIN, f->sspt, !t->conventional);
    qvtd_enable(&f->vtd);
}

static void fixture_stop(Fixture *f)
{
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

static void assert_translates(Fixture *f)
{
    QATDResult r;

    g_assert_cmpint(qatd_translate(&f->dev, QATD_NO_PASID, IOVA + 0x10, 8, 0,
                                   &r, 1), ==, 1);
    g_assert_cmphex(r.iova, ==, IOVA);
    g_assert_cmphex(r.translated_addr, ==, f->page);
    g_assert_cmphex(r.addr_mask, ==, 0xfff);
    g_assert_cmphex(r.perm & 3, ==, 3);
    g_assert_cmphex(r.pasid, ==, QATD_NO_PASID);
}

/* Untranslated, translated, and as the DMA engine chooses */
static void assert_writes(Fixture *f, unsigned command, uint64_t addr,
                          uint64_t flags, bool works)
{
    static uint32_t pattern = 0xabcd0000;

    qtest_writel(f->qts, f->page, 0);
    qtest_writel(f->qts, f->dev.data, ++pattern);
    if (works) {
        g_assert_cmpint(qatd_command(&f->dev, command, QATD_NO_PASID, addr, 4,
                                     flags), ==, 0);
        g_assert_cmphex(qtest_readl(f->qts, f->page), ==, pattern);
    } else {
        g_assert_cmpint(qatd_command(&f->dev, command, QATD_NO_PASID, addr, 4,
                                     flags), !=, 0);
        g_assert_cmphex(qtest_readl(f->qts, f->page), ==, 0);
    }
}

static void assert_dma(Fixture *f, const Topology *t, bool works)
{
    assert_writes(f, ATD_CMD_DMA_WRITE, IOVA, 0, works);
    assert_writes(f, ATD_CMD_SVM_WRITE, IOVA, 0, works);
    assert_writes(f, ATD_CMD_SVM_WRITE, IOVA, ATD_FLAG_THREAD, works);
    assert_writes(f, ATD_CMD_SVM_WRITE, IOVA, ATD_FLAG_ASYNC, works);
    if (!t->conventional) {
        assert_writes(f, ATD_CMD_DMA_WRITE, f->page, ATD_FLAG_TRANSLATED,
                      works);
    }
}

static void test_source_id(const void *opaque)
{
    const Topology *t = opaque;
    Fixture f;

    fixture_start(&f, t, t->sid);
    if (!t->conventional) {
        assert_translates(&f);
    }
    assert_dma(&f, t, true);
    fixture_stop(&f);
}

/* The same with the context entry of another source id */
static void test_other_source_id(const void *opaque)
{
    const Topology *t = opaque;
    Fixture f;

    fixture_start(&f, t, t->sid ^ QATD_BDF(0, 8, 0));
    if (!t->conventional) {
        QATDResult r;

        g_assert_cmpint(qatd_translate(&f.dev, QATD_NO_PASID, IOVA, 1, 0, &r,
                                       1), ==, 1);
        g_assert_cmphex(r.perm & 3, ==, 0);
    }
    assert_dma(&f, t, false);
    fixture_stop(&f);
}

/* An invalidation only reaches the function with its source id */
static void test_invalidation(const void *opaque)
{
    const Topology *t = opaque;
    QATD *d;
    Fixture f;

    if (t->conventional) {
        g_test_skip("no ATS on a conventional bus");
        return;
    }
    fixture_start(&f, t, t->sid);
    d = &f.dev;
    g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0, 0,
                                 0), ==, 0);
    qvtd_inv_device_tlb(&f.vtd, t->sid ^ QATD_BDF(0, 8, 0), IOVA, false);
    qvtd_inv_device_tlb(&f.vtd, t->sid ^ QATD_BDF(1, 0, 0), IOVA, false);
    g_assert_cmpint(qatd_read(d, ATD_INV_COUNT), ==, 0);

    qvtd_inv_device_tlb(&f.vtd, t->sid, IOVA, false);
    g_assert_cmpint(qatd_read(d, ATD_INV_COUNT), ==, 1);
    g_assert_cmphex(qatd_read(d, ATD_INV_ADDR), ==, IOVA);
    g_assert_cmphex(qatd_read(d, ATD_INV_MASK), ==, 0xfff);
    g_assert_cmphex(qatd_read(d, ATD_INV_PASID), ==, QATD_NO_PASID);

    g_assert_cmpint(qatd_command(d, ATD_CMD_UNREGISTER_IOTLB, QATD_NO_PASID, 0,
                                 0, 0), ==, 0);
    qvtd_inv_device_tlb(&f.vtd, t->sid, IOVA, false);
    g_assert_cmpint(qatd_read(d, ATD_INV_COUNT), ==, 1);
    fixture_stop(&f);
}

/*
 * 10.3.3: after the invalidation has completed, the function does not use the
 * old translation
 */
static void test_stale_translation(const void *opaque)
{
    const Topology *t = opaque;
    uint64_t other;
    Fixture f;

    if (t->conventional) {
        g_test_skip("no ATS on a conventional bus");
        return;
    }
    fixture_start(&f, t, t->sid);
    assert_writes(&f, ATD_CMD_SVM_WRITE, IOVA, ATD_FLAG_THREAD, true);
    g_assert_cmpint(qatd_read(&f.dev, ATD_ATC_ENTRIES), ==, 1);

    other = qvtd_new_table(&f.vtd);
    qvtd_map(&f.vtd, f.sspt, IOVA, other, 4096);
    qvtd_inv_pages(&f.vtd, DOMAIN, IOVA, 0);
    qvtd_inv_device_tlb(&f.vtd, t->sid, IOVA, false);
    g_assert_cmpint(qatd_read(&f.dev, ATD_ATC_ENTRIES), ==, 0);

    qtest_writel(f.qts, f.page, 0);
    qtest_writel(f.qts, f.dev.data, 0x5a5a5a5a);
    g_assert_cmpint(qatd_command(&f.dev, ATD_CMD_SVM_WRITE, QATD_NO_PASID, IOVA,
                                 4, ATD_FLAG_THREAD), ==, 0);
    g_assert_cmphex(qtest_readl(f.qts, other), ==, 0x5a5a5a5a);
    g_assert_cmphex(qtest_readl(f.qts, f.page), ==, 0);
    fixture_stop(&f);
}

/*
 * A function on a conventional bus cannot send translated requests, regardless
 * of the context entry of the bridge and of the function 00.0 on that bus
 * (PCIe 5.0, 10.2.4; VT-d 5.10, 3.12.1).
 */
static void test_translated_conventional(const void *opaque)
{
    Topology t = *(const Topology *)opaque;
    g_autofree char *with_first =
        g_strconcat(t.args, " -device pci-ats-testdev,bus=br,addr=0", NULL);
    const char *args[] = { t.args, with_first };

    for (unsigned i = 0; i < ARRAY_SIZE(args); i++) {
        Fixture f;

        t.args = args[i];
        fixture_start(&f, &t, t.sid);
        qvtd_attach(&f.vtd, t.sid, DOMAIN, f.sspt, true);
        qvtd_inv_global(&f.vtd);
        assert_writes(&f, ATD_CMD_DMA_WRITE, IOVA, 0, true);
        assert_writes(&f, ATD_CMD_DMA_WRITE, f.page, ATD_FLAG_TRANSLATED,
                      false);
        fixture_stop(&f);
    }
}

static void add_test(const char *name, const Topology *t,
                     void (*fn)(const void *))
{
    g_autofree char *path = g_strdup_printf("/pci-ats-topology/%s/%s", t->name,
                                            name);

    qtest_add_data_func(path, t, fn);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(topologies); i++) {
        const Topology *t = &topologies[i];

        add_test("source-id", t, test_source_id);
        add_test("other-source-id", t, test_other_source_id);
        add_test("invalidation", t, test_invalidation);
        add_test("stale-translation", t, test_stale_translation);
        if (t->conventional) {
            add_test("translated", t, test_translated_conventional);
        }
    }
    return g_test_run();
}
