/*
 * QTest testcases for the demo device for shared virtual memory: the machine
 * and the operations that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "svm-common.h"

#define MSI_DATA    0x4321

static uint64_t fault_size = SVM_SHORT;

/* ---- The device ---- */

void svm_write(SvmTest *t, unsigned reg, uint64_t val)
{
    if (reg == SVM_DEMO_REG_PASID) {
        qtest_writel(t->qts, SVM_REGS + reg, val);
    } else {
        qtest_writeq(t->qts, SVM_REGS + reg, val);
    }
}

uint64_t svm_read(SvmTest *t, unsigned reg)
{
    return qtest_readq(t->qts, SVM_REGS + reg);
}

uint64_t svm_result(SvmTest *t)
{
    return svm_read(t, SVM_DEMO_REG_ADDR);
}

uint16_t svm_conf_readw(SvmTest *t, uint16_t reg)
{
    return qecam_readw(t->qts, t->bdf, reg);
}

void svm_conf_writew(SvmTest *t, uint16_t reg, uint16_t val)
{
    qecam_writew(t->qts, t->bdf, reg, val);
}

void svm_conf_enable(SvmTest *t, uint32_t pri_alloc)
{
    qecam_writel(t->qts, t->bdf, PCI_BASE_ADDRESS_0, SVM_REGS);
    svm_conf_writew(t, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    t->ats = qecam_ext_cap(t->qts, t->bdf, PCI_EXT_CAP_ID_ATS);
    t->pasid = qecam_ext_cap(t->qts, t->bdf, PCI_EXT_CAP_ID_PASID);
    t->pri = qecam_ext_cap(t->qts, t->bdf, PCI_EXT_CAP_ID_PRI);
    qecam_enable_ats(t->qts, t->bdf, PCI_PASID_CTRL_PRIV, pri_alloc);
    qecam_enable_msi(t->qts, t->bdf, SVM_MSI_IOVA, MSI_DATA);
    svm_write(t, SVM_DEMO_REG_PASID, SVM_PASID);
}

/* ---- Setup ---- */

void svm_guest_init(SvmTest *t, uint32_t pri_alloc)
{
    uint64_t root0;

    t->root = qvtd_sm_attach_process(&t->vtd, t->bdf, SVM_PASID, SVM_DOMAIN,
                                     &root0);
    t->msi = qvtd_new_table(&t->vtd);
    qvtd_map_entry(&t->vtd, root0, 4, SVM_MSI_IOVA, KIB4, t->msi | SVM_FS,
                   SVM_FS);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, 2);
    svm_conf_enable(t, pri_alloc);
}

void svm_boot(SvmTest *t, uint32_t pri_alloc)
{
    qecam_enable(t->qts);
    if (t->bdf == SVM_BEHIND_PORT) {
        qecam_setup_bridge(t->qts, SVM_PORT, 1, 1);
    }
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    svm_guest_init(t, pri_alloc);
}

void svm_start_with(SvmTest *t, uint32_t pri_alloc, const char *args)
{
    *t = (SvmTest) { .bdf = SVM_DEV };
    t->qts = qtest_initf(SVM_MACHINE "%s", args);
    svm_boot(t, pri_alloc);
}

void svm_start(SvmTest *t)
{
    svm_start_with(t, 32, "");
}

void svm_stop(SvmTest *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* ---- The address space of the process ---- */

uint64_t svm_new_page(SvmTest *t)
{
    return qvtd_new_table(&t->vtd);
}

uint64_t svm_map(SvmTest *t, uint64_t addr, uint64_t bits)
{
    uint64_t gpa = svm_new_page(t);

    qvtd_map_entry(&t->vtd, t->root, 4, addr, KIB4, gpa | bits, SVM_FS);
    return gpa;
}

void svm_unmap(SvmTest *t, uint64_t addr)
{
    qvtd_map_entry(&t->vtd, t->root, 4, addr, KIB4, 0, SVM_FS);
    qvtd_inv_pasid_pages(&t->vtd, SVM_DOMAIN, SVM_PASID, addr & ~(KIB4 - 1), 0);
    qvtd_submit(&t->vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)SVM_PASID << 32 |
                         (uint64_t)t->bdf << 16, addr);
}

static uint8_t pattern(uint64_t pos)
{
    return pos % SVM_DEMO_PATTERN_PERIOD;
}

void svm_check_pattern(SvmTest *t, uint64_t gpa, size_t len, uint64_t pos)
{
    g_autofree uint8_t *buf = g_malloc(len);

    qtest_memread(t->qts, gpa, buf, len);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(buf[i], ==, pattern(pos + i));
    }
}

void svm_check_untouched(SvmTest *t, uint64_t gpa, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    qtest_memread(t->qts, gpa, buf, len);
    g_assert_true(buffer_is_zero(buf, len));
}

bool svm_page_has_pattern(SvmTest *t, uint64_t gpa)
{
    return qtest_readb(t->qts, gpa + KIB4 - 1) != 0;
}

/* ---- Operations ---- */

void svm_begin(SvmTest *t, unsigned command, uint64_t addr, uint64_t size)
{
    qtest_writel(t->qts, t->msi, 0);
    svm_write(t, SVM_DEMO_REG_ADDR, addr);
    svm_write(t, SVM_DEMO_REG_SIZE, size);
    svm_write(t, SVM_DEMO_REG_START, command);
}

void svm_wait_until(SvmTest *t, bool (*done)(SvmTest *t, uint64_t arg),
                    uint64_t arg)
{
    int64_t deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;

    while (!done(t, arg)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(100);
    }
}

bool svm_msi_arrived(SvmTest *t, uint64_t arg)
{
    uint32_t data = qtest_readl(t->qts, t->msi);

    g_assert_true(!data || data == MSI_DATA);
    return data;
}

void svm_check_no_msi(SvmTest *t)
{
    for (int i = 0; i < 200; i++) {
        g_assert_false(svm_msi_arrived(t, 0));
    }
}

uint64_t svm_finish(SvmTest *t)
{
    svm_wait_until(t, svm_msi_arrived, 0);
    return svm_result(t);
}

bool svm_has_failed(SvmTest *t, uint64_t arg)
{
    return svm_result(t) == SVM_DEMO_RESULT_ERROR;
}

uint64_t svm_run(SvmTest *t, unsigned command, uint64_t addr, uint64_t size)
{
    svm_begin(t, command, addr, size);
    return svm_finish(t);
}

uint64_t svm_run_write(SvmTest *t, uint64_t addr, uint64_t size)
{
    return svm_run(t, SVM_DEMO_START_WRITE, addr, size);
}

/* ---- Page requests ---- */

bool svm_has_requests(SvmTest *t, uint64_t n)
{
    return qvtd_prq_count(&t->prq) >= n;
}

void svm_expect_request(SvmTest *t, uint64_t addr, bool is_write,
                        QVtdPageReq *rq)
{
    svm_wait_until(t, svm_has_requests, 1);
    qvtd_prq_next(&t->prq, rq);
    g_assert_cmphex(rq->sid, ==, t->bdf);
    g_assert_cmphex(rq->pasid, ==, SVM_PASID);
    g_assert_cmphex(rq->addr, ==, addr & ~(KIB4 - 1));
    g_assert_cmpint(rq->write, ==, is_write);
    g_assert_cmpint(rq->read, ==, !is_write);
    g_assert_false(rq->exec);
}

void svm_begin_and_fault(SvmTest *t, QVtdPageReq *rq)
{
    if (fault_size > KIB4) {
        svm_map(t, SVM_ADDR + KIB4, SVM_FS);
    }
    svm_begin(t, SVM_DEMO_START_WRITE, SVM_ADDR, fault_size);
    svm_expect_request(t, SVM_ADDR, true, rq);
    g_assert_false(svm_msi_arrived(t, 0));
}

void svm_check_alive(SvmTest *t)
{
    uint64_t gpa = svm_map(t, SVM_ADDR + 64 * KIB4, SVM_FS);

    g_assert_cmphex(svm_run_write(t, SVM_ADDR + 64 * KIB4 + 8, 300), ==,
                    SVM_DEMO_RESULT_OK);
    svm_check_pattern(t, gpa + 8, 300, 0);
    svm_unmap(t, SVM_ADDR + 64 * KIB4);
}

/* ---- Fault injection ---- */

void svm_inject(SvmTest *t, const char *name, unsigned value)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'qom-set', 'arguments': "
                             "{ 'path': 'svm0', 'property': %s, 'value': %u } "
                             "}", name, value);
}

/* ---- Short and long operations ---- */

typedef struct Sized {
    uint64_t size;
    void (*test)(void);
} Sized;

static void run_sized(const void *data)
{
    const Sized *sized = data;

    fault_size = sized->size;
    sized->test();
    fault_size = SVM_SHORT;
}

static void add_sized(const char *name, const char *suffix, uint64_t size,
                      void (*test)(void))
{
    g_autofree char *path = g_strdup_printf("%s/%s", name, suffix);
    Sized *sized = g_new(Sized, 1);

    *sized = (Sized) { size, test };
    qtest_add_data_func_full(path, sized, run_sized, g_free);
}

void svm_add_both(const char *name, void (*test)(void))
{
    add_sized(name, "short", SVM_SHORT, test);
    add_sized(name, "long", SVM_LONG, test);
}
