/*
 * QTest testcase for migration streams that no machine has saved
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The destination rejects an invalid field with an error that names it.
 * "scripts/fuzz streams" finds fields that are missing here.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "standard-headers/linux/virtio_iommu.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/dsa.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/stream.h"
#include "libqos/viommu.h"
#include "libqos/vtd.h"

#define MACHINE "-M q35 -nodefaults -m 16 "
#define DEV     QATD_BDF(0, 4, 0)
#define PAGE    0x1000

typedef struct Case {
    const char *path;
    unsigned size;              /* of the field, in bytes */
    uint64_t val;
    const char *error;          /* or NULL if the value is valid */
} Case;

static uint64_t load_field(const uint8_t *p, unsigned size)
{
    return size == 1 ? *p : size == 2 ? lduw_be_p(p) :
           size == 4 ? (uint32_t)ldl_be_p(p) : ldq_be_p(p);
}

static void store_field(uint8_t *p, unsigned size, uint64_t val)
{
    for (unsigned i = 0; i < size; i++) {
        p[i] = val >> (size - 1 - i) * 8;
    }
}

/* Frees the stream */
static void check_cases(QStream *s, const char *args, const char *device,
                        const Case *cases, size_t n)
{
    qstream_expect(s, args, NULL);
    for (size_t i = 0; i < n; i++) {
        const Case *c = &cases[i];
        uint8_t *p = qstream_field(s, device, c->path);
        uint64_t old = load_field(p, c->size);

        g_test_message("%s: 0x%" PRIx64, c->path, c->val);
        store_field(p, c->size, c->val);
        qstream_expect(s, args, c->error);
        store_field(p, c->size, old);
    }
    qstream_free(s);
}

/* Save a machine that has just started, and change one field at a time */
static void check_started(const char *args, const char *device,
                          const Case *cases, size_t n)
{
    check_cases(qstream_save(qtest_init(args)), args, device, cases, n);
}

/* ---- intel-iommu ---- */

static const Case iommu_cases[] = {
    /* Not aligned; 8 bytes before the end of RAM; wider than any address */
    { "root", 8, 0xfffff4, "invalid root: 0xfffff4" },
    { "root", 8, 0xfffff8, "invalid root" },
    { "root", 8, 1ULL << 52, "invalid root" },
    { "root", 8, 0xfff000, NULL },
    { "intr_root", 8, 8, "invalid intr_root" },
    { "intr_root", 8, 0x123000, NULL },
    { "iq", 8, 16, "invalid iq:" },
    { "intr_size", 4, 1, "invalid intr_size" },
    { "intr_size", 4, 3, "invalid intr_size" },
    { "intr_size", 4, 0x20000, "invalid intr_size" },
    { "intr_size", 4, 0x10000, NULL },
    { "iq_size", 2, 1, "invalid iq_size" },
    { "iq_size", 2, 64, "invalid iq_size" },
    { "iq_size", 2, 0xffff, "invalid iq_size" },
    { "iq_size", 2, 128, NULL },
    { "iq_size", 2, 32768, NULL },
    { "iq_head", 2, 1, "invalid iq_head" },
    { "iq_tail", 2, 0x8000, "invalid iq_tail" },
    { "iq_tail", 2, 0x7fff, NULL },
    { "iq_last_desc_type", 1, 0x80, "invalid iq_last_desc_type" },
    { "next_frcd_reg", 2, 1, "invalid next_frcd_reg" },
    { "next_frcd_reg", 2, 0xffff, "invalid next_frcd_reg" },
    { "dmar_enabled", 1, 1, "invalid dmar_enabled" },
    { "qi_enabled", 1, 1, "invalid qi_enabled" },
    { "intr_enabled", 1, 1, "invalid intr_enabled" },
    { "intr_eime", 1, 1, NULL },
};

static void test_iommu(void)
{
    check_started(MACHINE "-device intel-iommu", "iommu-intel", iommu_cases,
                  ARRAY_SIZE(iommu_cases));
}

static void test_iommu_svm(void)
{
    check_started(MACHINE "-device intel-iommu,svm=on", "iommu-intel",
                  iommu_cases, ARRAY_SIZE(iommu_cases));
}

/* Flags that match the registers, but contradict each other */
static void test_iommu_enabled(void)
{
    const char *args = MACHINE "-device intel-iommu,svm=on";
    QStream *s = qstream_save(qtest_init(args));

    *qstream_field(s, "iommu-intel", "qi_enabled") = 1;
    stl_le_p(qstream_field(s, "iommu-intel", "csr") + DMAR_GSTS_REG,
             VTD_GSTS_QIES);
    qstream_expect(s, args, "invalid iq_size");
    stw_be_p(qstream_field(s, "iommu-intel", "iq_size"), 256);
    qstream_expect(s, args, NULL);
    stw_be_p(qstream_field(s, "iommu-intel", "iq_head"), 256);
    qstream_expect(s, args, "invalid iq_head");
    stw_be_p(qstream_field(s, "iommu-intel", "iq_head"), 255);
    qstream_expect(s, args, NULL);
    qstream_free(s);
}

/* ---- Loads that fail before the device can check what was loaded ---- */

#define DISK "hostile-stream-test.qcow2"

/* Save the machine as a snapshot, and exit QEMU */
static void save_snapshot(QTestState *qts)
{
    g_assert_true(g_file_set_contents(DISK, "", 0, NULL));
    qatd_add_snapshot_disk(qts, DISK);
    qatd_snapshot(qts, "snapshot-save");
    qtest_quit(qts);
}

/* Load a snapshot, which fails, and continue the machine nevertheless */
static void fail_to_load_snapshot(QTestState *qts)
{
    qatd_attach_snapshot_disk(qts, DISK);
    g_assert_false(qatd_try_snapshot(qts, "snapshot-load"));
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
}

/* Give a subsection with a unique name an unknown version */
static void break_snapshot(const char *subsection)
{
    size_t len, i = 0, key_len = 1 + strlen(subsection);
    g_autofree char *key = g_strdup_printf("%c%s", (char)(key_len - 1),
                                           subsection);
    g_autofree char *data = NULL;

    g_assert_true(g_file_get_contents(DISK, &data, &len, NULL));
    while (memcmp(data + i, key, key_len)) {
        g_assert_cmpuint(++i + key_len + 4, <=, len);
    }
    g_assert_cmpuint(ldl_be_p(data + i + key_len), ==, 1);
    stl_be_p(data + i + key_len, 2);
    g_assert_true(g_file_set_contents(DISK, data, len, NULL));
}

/* The machine continues with an IOMMU that has been reset */
static void test_iommu_failed_load(void)
{
    const char *args = MACHINE "-device intel-iommu,svm=on";
    QTestState *qts = qtest_init(args);

    qvtd_writeq(qts, DMAR_RTADDR_REG, 0x100000 | VTD_RTADDR_SMT);
    qvtd_writel(qts, DMAR_GCMD_REG, VTD_GCMD_SRTP);
    qvtd_writel(qts, DMAR_GCMD_REG, VTD_GCMD_TE);
    g_assert_cmphex(qvtd_readl(qts, DMAR_GSTS_REG), ==,
                    VTD_GSTS_RTPS | VTD_GSTS_TES);
    save_snapshot(qts);
    break_snapshot("iommu-intel/pri");

    qts = qtest_init(args);
    fail_to_load_snapshot(qts);
    g_assert_cmphex(qvtd_readl(qts, DMAR_GSTS_REG), ==, 0);
    g_assert_cmphex(qvtd_readq(qts, DMAR_RTADDR_REG), ==, 0);
    qtest_quit(qts);
    unlink(DISK);
}

/* ---- dsa ---- */

static const Case dsa_cases[] = {
    { "image:state", 4, 4, "invalid state" },
    { "image:reset_type", 4, 2, "invalid reset_type" },
    { "image:gencfg", 4, 1U << 31, "invalid GENCFG" },
    { "image:genctrl", 4, 8, "invalid GENCTRL" },
    { "image:intcause", 4, 8, "invalid INTCAUSE" },
    { "image:cmdstatus", 4, 1 << 24, "invalid CMDSTATUS" },
    { "image:cmdstatus", 4, 1U << 31, "invalid cmd.waits" },
    { "image:msixperm", 4, 1, "invalid MSIXPERM" },
    { "image:cmd:waits", 1, 1, "invalid cmd.waits" },
    { "image:cmd:done", 1, 1, "invalid cmd.done" },
    { "image:cmd:filter.end", 8, 1, "invalid cmd.filter.end" },
    { "image:next_seq", 8, 1ULL << 63, "invalid next_seq" },
    { "image:next_seq", 8, INT64_MAX, NULL },
    { "image:groups:flags", 8, 1ULL << 63, "invalid GRPFLAGS" },
    { "image:groups:engines", 8, UINT64_MAX, NULL },
    { "image:wqs#0:cfg", 8, 1ULL << 63, "invalid WQCFG" },
    { "image:wqs#6:state", 4, 1, "invalid wq.state" },
    { "image:wqs#6:state", 4, 3, "invalid wq.state" },
    { "image:wqs#0:occupancy", 4, 129, "dsa/wq/Occupancy" },
    { "image:wqs#0:occupancy", 4, UINT32_MAX, "dsa/wq/Occupancy" },
    { "image:engines:busy", 1, 1, "invalid engine.busy" },
    { "image:engines:child:phase", 1, 99, NULL },
    { "dsa/event-log:image:event_log.cfg", 8, 4, "invalid EVLCFG" },
    { "dsa/event-log:image:event_log.status", 8, 1ULL << 63,
      "invalid EVLSTATUS" },
};

static void test_dsa(void)
{
    check_started(MACHINE "-device dsa,addr=4,event-log=on", "dsa", dsa_cases,
                  ARRAY_SIZE(dsa_cases));
}

static const Case dsa_enabled_cases[] = {
    { "image:state", 4, 0, "invalid wq.state" },
    { "image:state", 4, 3, "invalid wq.state" },
    { "image:groups:wqs", 8, 2, "invalid GRPCFG" },
    { "image:groups:engines", 8, UINT64_MAX, "invalid GRPCFG" },
    { "image:wqs#0:cfg", 8, 129, "invalid GRPCFG" },
    { "image:wqs#0:occupancy", 4, 17, "Failed to load" },
    { "image:wqs#0:ring:seq", 8, 1, "invalid work.seq" },
    { "image:wqs#0:ring:pasid", 4, 1 << 20, "invalid work.pasid" },
    { "image:wqs#0:ring:priv", 1, 1, "invalid work.pasid" },
    { "image:wqs#0:ring:wq", 1, 8, "invalid work.wq" },
    { "image:wqs#0:ring:max_transfer", 1, 32, "invalid work.max_transfer" },
    { "image:wqs#0:ring:max_batch", 1, 11, "invalid work.max_batch" },
};

typedef struct DSATest {
    QTestState *qts;
    QGuestAllocator alloc;
    QDSA dsa;
    uint64_t cr;
    uint64_t data;
} DSATest;

/* Start a device without IOMMU, and enable WQ 0 */
static void dsa_start(DSATest *t, const char *args)
{
    uint64_t page;

    t->qts = qtest_init(args);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    page = guest_alloc_zeroed(&t->alloc, t->qts, 3 * PAGE);
    qdsa_init(&t->dsa, t->qts, DEV, page);
    t->cr = page + PAGE;
    t->data = page + 2 * PAGE;
    qdsa_start(&t->dsa, 0);
}

/* Fill @size bytes of the data with ones */
static void dsa_fill(DSATest *t, size_t size)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_FILL, DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR,
              t->cr);
    qdsa_desc_data(&desc, UINT64_MAX, t->data, size);
    qdsa_submit(&t->dsa, &desc);
}

/*
 * Engines do not execute a descriptor that arrives while the machine is
 * stopped
 */
static void dsa_fill_stopped(DSATest *t, size_t size)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'stop' }");
    dsa_fill(t, size);
}

static void test_dsa_enabled(void)
{
    const char *args = MACHINE "-device dsa,addr=4";
    DSATest t;

    dsa_start(&t, args);
    dsa_fill_stopped(&t, 8);
    check_cases(qstream_save(t.qts), args, "dsa", dsa_enabled_cases,
                ARRAY_SIZE(dsa_enabled_cases));
    alloc_destroy(&t.alloc);
}

/* A load that fails after all descriptors discards them */
static void test_dsa_failed_load(void)
{
    const char *args = MACHINE "-device dsa,addr=4,event-log=on";
    uint8_t record[DSA_CR_SIZE];
    DSATest t;

    dsa_start(&t, args);
    dsa_fill_stopped(&t, PAGE);
    save_snapshot(t.qts);
    alloc_destroy(&t.alloc);
    break_snapshot("dsa/event-log");

    dsa_start(&t, args);
    fail_to_load_snapshot(t.qts);
    /* The machine has been reset, and its memory loaded */
    qecam_enable(t.qts);
    qdsa_init(&t.dsa, t.qts, DEV, t.cr - PAGE);
    g_assert_cmphex(FIELD_EX32(qdsa_readl(&t.dsa, A_DSA_GENSTS), DSA_GENSTS,
                               STATE), ==, DSA_DISABLED);
    g_assert_cmphex(qdsa_readq(&t.dsa, qdsa_wqcfg(0, 3)), ==, 0);
    qdsa_start(&t.dsa, 0);
    dsa_fill(&t, 8);
    g_assert_cmphex(qdsa_wait(&t.dsa, t.cr, record), ==, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qtest_readq(t.qts, t.data), ==, UINT64_MAX);
    g_assert_cmphex(qtest_readq(t.qts, t.data + 8), ==, 0);
    qtest_quit(t.qts);
    alloc_destroy(&t.alloc);
    unlink(DISK);
}

/* ---- svm ---- */

static const Case svm_cases[] = {
    { "saved.result", 8, 99, "invalid result" },
    { "saved.op:command", 8, 3, "invalid op.command" },
    { "saved.op:command", 8, 1, "invalid op.size" },
    { "saved.op:pos", 8, 1, "invalid op.pos" },
    { "saved.op:pasid", 4, 1 << 20, NULL },
    { "saved.pasid", 4, UINT32_MAX, NULL },
};

static void test_svm(void)
{
    const char *args = MACHINE "-device intel-iommu,svm=on "
                       "-device svm,addr=4";
    uint8_t ended[5] = { 1 };
    QStream *s;

    check_started(args, "svm", svm_cases, ARRAY_SIZE(svm_cases));
    s = qstream_save(qtest_init(args));
    qstream_add_subsection(s, "svm", NULL, "svm/ended", ended, sizeof(ended));
    qstream_expect(s, args, "invalid ended");
    qstream_free(s);
}

/* ---- pci-ats-port ---- */

#define PORT_STATUS     (4 * 8)     /* offset in the registers */

static void test_port(void)
{
    const char *args = MACHINE "-device intel-iommu,svm=on "
                       "-device pci-ats-port,addr=4";
    QStream *s = qstream_save(qtest_init(args));
    uint8_t *regs = qstream_field(s, "pci-ats-port", "regs");

    store_field(regs + PORT_STATUS, 8, 2);
    qstream_expect(s, args, NULL);
    store_field(regs + PORT_STATUS, 8, 1);
    qstream_expect(s, args, "invalid status 1");
    qstream_free(s);
}

/* ---- pcie-root-port ---- */

/* PCIe 5.0, 7.5.3.10: the driver toggles the interlock of the slot */
static void test_interlock(void)
{
    const char *args = MACHINE "-device pcie-root-port,addr=4,chassis=1";
    QTestState *qts = qtest_init(args);
    uint64_t exp;
    QStream *s;

    qecam_enable(qts);
    exp = qecam_address(DEV, qecam_cap(qts, DEV, PCI_CAP_ID_EXP));
    qtest_writew(qts, exp + PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_EIC);
    g_assert_cmphex(qtest_readw(qts, exp + PCI_EXP_SLTSTA) &
                    PCI_EXP_SLTSTA_EIS, ==, PCI_EXP_SLTSTA_EIS);
    s = qstream_save(qts);
    qstream_expect(s, args, NULL);
    qstream_free(s);
}

/* ---- Virtual functions ---- */

/* NumVFs above TotalVFs (PCIe 5.0, 9.3.3.7), which a guest cannot enable */
static void test_vfs(void)
{
    const char *args = MACHINE "-device igb";
    QStream *s = qstream_save(qtest_init(args));
    uint8_t *cap = qstream_field(s, "igb", "parent_obj[0]:config[1]") +
                   0x160;
    uint16_t total = lduw_le_p(cap + PCI_SRIOV_TOTAL_VF);

    g_assert_cmpuint(ldl_le_p(cap) & 0xffff, ==, PCI_EXT_CAP_ID_SRIOV);
    stw_le_p(cap + PCI_SRIOV_NUM_VF, 0x1000);
    qstream_expect(s, args, NULL);
    stw_le_p(cap + PCI_SRIOV_CTRL, PCI_SRIOV_CTRL_VFE);
    qstream_expect(s, args, "invalid NumVFs");
    stw_le_p(cap + PCI_SRIOV_NUM_VF, total + 1);
    qstream_expect(s, args, "invalid NumVFs");
    stw_le_p(cap + PCI_SRIOV_NUM_VF, total);
    qstream_expect(s, args, NULL);
    qstream_free(s);
}

/* ---- virtio-iommu ---- */

#define VIOMMU_ARGS  MACHINE "-device virtio-iommu-pci,addr=7 "               \
                     "-device pci-ats-testdev,addr=4"
#define VIOMMU_DEVFN QPCI_DEVFN(7, 0)
#define VIOMMU_SIZE  1024
#define IOVA         0x1234567000ULL

/* Find the only place of bytes that no field in the description contains */
static uint8_t *find_bytes(QStream *s, const void *bytes, size_t len)
{
    uint8_t *p = memmem(s->data, s->len, bytes, len);

    g_assert_nonnull(p);
    g_assert_null(memmem(p + 1, s->data + s->len - p - 1, bytes, len));
    return p;
}

/* Two virtqueues of the maximum size, and one that is larger */
static void test_viommu_queue(void)
{
    QStream *s = qstream_save(qtest_init(VIOMMU_ARGS));
    const uint8_t queues[] = { 0, 0, 0, 2, 0, 0, VIOMMU_SIZE >> 8, 0 };
    uint8_t *size = find_bytes(s, queues, sizeof(queues)) + 4;

    qstream_expect(s, VIOMMU_ARGS, NULL);
    stl_be_p(size, VIOMMU_SIZE + 1);
    qstream_expect(s, VIOMMU_ARGS, "size 0x401 is invalid");
    stl_be_p(size, UINT32_MAX);
    qstream_expect(s, VIOMMU_ARGS, "size 0xffffffff is invalid");
    qstream_free(s);
}

/* A mapping that ends before it begins, which an UNMAP request cannot remove */
static void test_viommu_mapping(void)
{
    QTestState *qts = qtest_init(VIOMMU_ARGS);
    QGuestAllocator alloc;
    QViommu iommu;
    uint8_t bytes[16], *mapping;
    QStream *s;

    pc_alloc_init(&alloc, qts, ALLOC_NO_FLAGS);
    qviommu_init(&iommu, qts, &alloc, VIOMMU_DEVFN);
    g_assert_cmpuint(qviommu_attach(&iommu, 1, DEV, 0), ==, VIRTIO_IOMMU_S_OK);
    g_assert_cmpuint(qviommu_map(&iommu, 1, IOVA, IOVA + PAGE - 1, 0), ==,
                     VIRTIO_IOMMU_S_OK);
    qviommu_cleanup(&iommu);
    s = qstream_save(qts);
    alloc_destroy(&alloc);

    stq_be_p(bytes, IOVA);
    stq_be_p(bytes + 8, IOVA + PAGE - 1);
    mapping = find_bytes(s, bytes, sizeof(bytes));
    qstream_expect(s, VIOMMU_ARGS, NULL);
    stq_be_p(mapping + 8, IOVA);
    qstream_expect(s, VIOMMU_ARGS, NULL);
    stq_be_p(mapping + 8, IOVA - 1);
    qstream_expect(s, VIOMMU_ARGS, "interval");
    qstream_free(s);
}

#define DOMAINS_ARGS VIOMMU_ARGS " -device pci-testdev,addr=5"
#define OTHER_DEV    QATD_BDF(0, 5, 0)

/* Numbers of domains, each of which has an endpoint: DEV and OTHER_DEV */
enum {
    FIRST_DOMAIN = 0x5000,
    SECOND_DOMAIN,
};

static QTestState *start_with_domains(void)
{
    QTestState *qts = qtest_init(DOMAINS_ARGS);
    QGuestAllocator alloc;
    QViommu iommu;

    pc_alloc_init(&alloc, qts, ALLOC_NO_FLAGS);
    qviommu_init(&iommu, qts, &alloc, VIOMMU_DEVFN);
    g_assert_cmpuint(qviommu_attach(&iommu, FIRST_DOMAIN, DEV, 0), ==,
                     VIRTIO_IOMMU_S_OK);
    g_assert_cmpuint(qviommu_attach(&iommu, SECOND_DOMAIN, OTHER_DEV, 0), ==,
                     VIRTIO_IOMMU_S_OK);
    qviommu_cleanup(&iommu);
    alloc_destroy(&alloc);
    return qts;
}

/* The key and the number of a domain in a stream */
static void domain_bytes(uint8_t *bytes, uint64_t key, uint32_t number)
{
    stq_be_p(bytes, key);
    stl_be_p(bytes + 8, number);
}

/*
 * The second domain repeats the key of the first one, has another key than its
 * number, or has the endpoint of the first one.
 */
static void test_viommu_domains(void)
{
    QStream *s = qstream_save(start_with_domains());
    const uint8_t other[] = { 1, 0, 0, OTHER_DEV >> 8, OTHER_DEV & 0xff, 0 };
    uint8_t bytes[12], *domain, *endpoint;

    domain_bytes(bytes, SECOND_DOMAIN, SECOND_DOMAIN);
    domain = find_bytes(s, bytes, sizeof(bytes));
    qstream_expect(s, DOMAINS_ARGS, NULL);
    domain_bytes(domain, FIRST_DOMAIN, SECOND_DOMAIN);
    qstream_expect(s, DOMAINS_ARGS, "repeats a key");
    domain_bytes(domain, FIRST_DOMAIN, FIRST_DOMAIN);
    qstream_expect(s, DOMAINS_ARGS, "repeats a key");
    domain_bytes(domain, SECOND_DOMAIN, FIRST_DOMAIN);
    qstream_expect(s, DOMAINS_ARGS, "has the key");
    domain_bytes(domain, SECOND_DOMAIN, SECOND_DOMAIN);

    /* The list of endpoints, with one element */
    endpoint = memmem(domain, s->data + s->len - domain, other, sizeof(other));
    g_assert_nonnull(endpoint);
    stl_be_p(endpoint + 1, DEV);
    qstream_expect(s, DOMAINS_ARGS, "is attached twice");
    qstream_free(s);
}

/* The machine continues without domains, and is reset */
static void test_viommu_failed_load(void)
{
    uint8_t good[12], bad[12], *found;
    g_autofree char *data = NULL;
    QGuestAllocator alloc;
    QTestState *qts;
    QViommu iommu;
    size_t len;

    save_snapshot(start_with_domains());
    g_assert_true(g_file_get_contents(DISK, &data, &len, NULL));
    domain_bytes(good, SECOND_DOMAIN, SECOND_DOMAIN);
    domain_bytes(bad, FIRST_DOMAIN, SECOND_DOMAIN);
    found = memmem(data, len, good, sizeof(good));
    g_assert_nonnull(found);
    memcpy(found, bad, sizeof(bad));
    g_assert_true(g_file_set_contents(DISK, data, len, NULL));

    qts = qtest_init(DOMAINS_ARGS);
    fail_to_load_snapshot(qts);
    qtest_system_reset(qts);
    pc_alloc_init(&alloc, qts, ALLOC_NO_FLAGS);
    qviommu_init(&iommu, qts, &alloc, VIOMMU_DEVFN);
    g_assert_cmpuint(qviommu_attach(&iommu, SECOND_DOMAIN, DEV, 0), ==,
                     VIRTIO_IOMMU_S_OK);
    qviommu_cleanup(&iommu);
    qtest_quit(qts);
    alloc_destroy(&alloc);
    unlink(DISK);
}

/* ---- pci-ats-testdev, and the Page Request capability ---- */

#define ATS_ARGS MACHINE "-device intel-iommu,svm=on "                     \
                  "-device pci-ats-testdev,addr=4"

static const Case ats_cases[] = {
    { "saved:pasid", 4, UINT32_MAX - 1, NULL },
    { "saved:has_iotlb", 4, 2, "invalid has_iotlb" },
    { "saved:has_iotlb", 4, 1, NULL },
    { "saved:has_pri", 4, 2, "invalid has_pri" },
    { "saved:has_pri", 4, 1, NULL },
};

static void test_ats(void)
{
    QStream *s;
    uint8_t *p;

    check_started(ATS_ARGS, "pci-ats-testdev", ats_cases,
                  ARRAY_SIZE(ats_cases));
    /* Two notifiers for PASID 0; and one with an invalid PASID */
    s = qstream_save(qtest_init(ATS_ARGS));
    p = qstream_field(s, "pci-ats-testdev", "saved");
    stl_be_p(p + 8, 1);
    qstream_expect(s, ATS_ARGS, NULL);
    stl_be_p(p + 12 + 8, 1);
    qstream_expect(s, ATS_ARGS, "invalid pasid");
    stl_be_p(p + 12, 1 << 20);
    qstream_expect(s, ATS_ARGS, "invalid pasid");
    stl_be_p(p + 12, 1);
    qstream_expect(s, ATS_ARGS, NULL);
    qstream_free(s);
}

typedef struct SavedGroup {
    uint32_t pasid;
    uint32_t prgi;
    uint32_t requests;
    uint32_t last_requests;
    uint32_t abandoned;
} SavedGroup;

/* Add two groups, the second of which may be invalid */
static void check_groups(const SavedGroup *second, const char *error)
{
    const SavedGroup groups[2] = { { 5, 1, 1, 1, 0 }, *second };
    QStream *s = qstream_save(qtest_init(ATS_ARGS));
    uint8_t data[4 + sizeof(groups)];

    stl_be_p(data, ARRAY_SIZE(groups));
    for (size_t i = 0; i < sizeof(groups) / 4; i++) {
        stl_be_p(data + 4 + 4 * i, ((const uint32_t *)groups)[i]);
    }
    qstream_add_subsection(s, "pci-ats-testdev", "parent_obj", "PCIDevice/pri",
                           data, sizeof(data));
    qstream_expect(s, ATS_ARGS, error);
    qstream_free(s);
}

static void test_groups(void)
{
    static const struct {
        SavedGroup second;
        const char *error;
    } cases[] = {
        { { 5, 2, 3, 2, 1 }, NULL },
        { { UINT32_MAX, 1, 1, 1, 1 }, NULL },
        { { 1 << 20, 1, 1, 1, 0 }, "invalid pasid" },
        { { 5, 512, 1, 1, 0 }, "invalid prgi" },
        { { 5, 1, 1, 1, 0 }, "invalid prgi" },
        { { 5, 2, 0, 0, 0 }, "invalid requests" },
        { { 5, 2, 65535, 1, 0 }, NULL },
        { { 5, 2, 65536, 1, 0 }, "invalid requests" },
        { { 5, 2, UINT32_MAX, 1, 0 }, "invalid requests" },
        { { 5, 2, 1, 2, 0 }, "invalid last_requests" },
        { { 5, 2, 2, 1, 2 }, "invalid abandoned" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        g_test_message("case %zu", i);
        check_groups(&cases[i].second, cases[i].error);
    }
}

/* ---- Processors of TCG ---- */

#define TCG_ARGS MACHINE "-accel tcg -cpu max,enqcmd=on"

static void check_msr(const char *subsection, uint64_t val, const char *error)
{
    QStream *s = qstream_save(qtest_init(TCG_ARGS " -S"));

    val = cpu_to_be64(val);
    qstream_add_subsection(s, "cpu", NULL, subsection, &val, sizeof(val));
    qstream_expect(s, TCG_ARGS, error);
    qstream_free(s);
}

/* Intel SDM volume 1, 13.3: only components that exist can be enabled */
static void test_xsave(void)
{
    static const Case cases[] = {
        { "env.xcr0", 8, 3, NULL },
        { "env.xcr0", 8, 1 << 18, "invalid XCR0: 0x40000" },
        { "env.xcr0", 8, 1ULL << 63, "invalid XCR0" },
    };

    check_cases(qstream_save(qtest_init(TCG_ARGS " -S")), TCG_ARGS, "cpu",
                cases, ARRAY_SIZE(cases));
    check_msr("cpu/xss", 1 << 10, NULL);
    check_msr("cpu/xss", 1 << 18, "invalid IA32_XSS");
    check_msr("cpu/pasid", 1U << 31 | 0xfffff, NULL);
    check_msr("cpu/pasid", 1 << 20, "invalid IA32_PASID");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/hostile-stream/svm", test_svm);
    qtest_add_func("/hostile-stream/port", test_port);
    qtest_add_func("/hostile-stream/interlock", test_interlock);
    if (qtest_has_device("igb")) {
        qtest_add_func("/hostile-stream/vfs", test_vfs);
    }
    if (qtest_has_device("virtio-iommu-pci")) {
        qtest_add_func("/hostile-stream/viommu-queue", test_viommu_queue);
        qtest_add_func("/hostile-stream/viommu-mapping", test_viommu_mapping);
        qtest_add_func("/hostile-stream/viommu-domains", test_viommu_domains);
        qtest_add_func("/hostile-stream/viommu-failed-load",
                       test_viommu_failed_load);
    }
    qtest_add_func("/hostile-stream/ats", test_ats);
    qtest_add_func("/hostile-stream/groups", test_groups);
    if (qtest_has_accel("tcg")) {
        qtest_add_func("/hostile-stream/xsave", test_xsave);
    }
    qtest_add_func("/hostile-stream/dsa", test_dsa);
    qtest_add_func("/hostile-stream/dsa-enabled", test_dsa_enabled);
    qtest_add_func("/hostile-stream/dsa-failed-load", test_dsa_failed_load);
    qtest_add_func("/hostile-stream/iommu", test_iommu);
    qtest_add_func("/hostile-stream/iommu-svm", test_iommu_svm);
    qtest_add_func("/hostile-stream/iommu-enabled", test_iommu_enabled);
    qtest_add_func("/hostile-stream/iommu-failed-load",
                   test_iommu_failed_load);
    return g_test_run();
}
