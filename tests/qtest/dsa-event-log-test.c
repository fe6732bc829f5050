/*
 * QTest testcase for the event log of the Data Streaming Accelerator (DSA)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "dsa-event-log-common.h"

/* Domain of both address spaces, and a first-stage entry (VT-d 9.7) */
#define DOMAIN      1
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

#define IOMMU_DSA   "-device intel-iommu,svm=on " LOG_DSA

/*
 * I/O virtual addresses; the pages that follow that of IOVA_CR are not present
 */
#define IOVA_CR     0x10000000ULL
#define IOVA_DATA   0x20000000ULL
#define IOVA_LOG    0x30000000ULL

/* ---- Setup ---- */

static void map(LogTest *t, uint64_t root, uint64_t iova, uint64_t gpa)
{
    qvtd_map_entry(&t->vtd, root, 4, iova, PAGE, gpa | FS, FS);
}

static void attach_iommu(LogTest *t)
{
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->root = qvtd_sm_attach_process(&t->vtd, LOG_DEV, LOG_PROCESS, DOMAIN,
                                     &t->root0);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, 2);
    qdsa_enable_ats(&t->dsa);
    map(t, t->root, IOVA_CR, t->cr);
    map(t, t->root, IOVA_DATA, t->data);
    /* Addresses of interrupt messages */
    map(t, t->root0, t->dsa.msi, t->dsa.msi);
}

static void start_wq(LogTest *t, uint64_t bits)
{
    qdsa_start(&t->dsa, R_DSA_WQCFG1_PASID_EN_MASK |
               LOG_PROCESS << R_DSA_WQCFG1_PASID_SHIFT | bits);
}

/*
 * Start a device behind an IOMMU; it writes the log without PASID, as in Linux
 */
static void start_iommu(LogTest *t, uint64_t bits)
{
    log_start_with(t, IOMMU_DSA);
    attach_iommu(t);
    map(t, t->root0, IOVA_LOG, t->log);
    log_configure(t, IOVA_LOG, LOG_SIZE);
    start_wq(t, bits);
}

/* Complete all descriptors first, so that all their interrupts are sent */
static void expect_no_msi(LogTest *t, unsigned vector)
{
    g_assert_cmphex(qdsa_command(&t->dsa, DSA_CMD_DRAIN_ALL, 0), ==, 0);
    g_assert_cmphex(qtest_readl(t->qts, t->dsa.msi + 8 * vector), ==, 0);
}

/* Permit LOG_HANDLE for the PASID of the WQ, or forbid it */
static void permit_handle(LogTest *t, bool permit)
{
    bool pasid_en = permit == !!t->root;

    qdsa_writel(&t->dsa, qdsa_msixperm(LOG_HANDLE),
                pasid_en ? R_DSA_MSIXPERM_PASID_EN_MASK |
                           LOG_PROCESS << R_DSA_MSIXPERM_PASID_SHIFT : 0);
}

static uint32_t event_info(const LogEvent *e)
{
    return FIELD_EX64(e->q[1], DSA_SWERROR1, ERROR_INFO);
}

/* ---- Registers ---- */

/* 9.2.1, 9.2.2, 9.2.3: capabilities with the log and without */
static void test_capabilities(void)
{
    LogTest t;
    QDSA *d = &t.dsa;
    uint64_t cap;

    log_start_with(&t, LOG_DSA);
    g_assert_cmphex(qdsa_readl(d, A_DSA_VERSION), ==, 0x200);
    cap = qdsa_readq(d, A_DSA_GENCAP);
    g_assert_cmpuint(FIELD_EX64(cap, DSA_GENCAP, EVENT_LOG), ==, 1);
    g_assert_cmpuint(FIELD_EX64(cap, DSA_GENCAP, EVENT_LOG_OVERFLOW), ==, 0);
    cap = qdsa_readq(d, A_DSA_WQCAP);
    g_assert_cmpuint(FIELD_EX64(cap, DSA_WQCAP, PRS), ==, 1);
    log_stop(&t);

    log_start_with(&t, "-device dsa,addr=4");
    g_assert_cmphex(qdsa_readl(d, A_DSA_VERSION), ==, 0x100);
    cap = qdsa_readq(d, A_DSA_GENCAP);
    g_assert_cmpuint(FIELD_EX64(cap, DSA_GENCAP, EVENT_LOG), ==, 0);
    cap = qdsa_readq(d, A_DSA_WQCAP);
    g_assert_cmpuint(FIELD_EX64(cap, DSA_WQCAP, PRS), ==, 0);
    log_configure(&t, t.log, LOG_SIZE);
    log_set_head(&t, 1);
    qdsa_writel(d, A_DSA_GENCTRL, R_DSA_GENCTRL_EVENT_LOG_INT_MASK);
    g_assert_cmphex(qdsa_readq(d, A_DSA_EVLCFG), ==, 0);
    g_assert_cmphex(qdsa_readq(d, A_DSA_EVLCFG + 8), ==, 0);
    g_assert_cmphex(log_status(&t), ==, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENCTRL), ==, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENCFG) & R_DSA_GENCFG_EVENT_LOG_MASK,
                    ==, 0);
    log_stop(&t);
}

/* 9.2.16, 9.2.17, Table 9-4: writable fields in each state */
static void test_registers(void)
{
    LogTest t;
    QDSA *d = &t.dsa;

    log_start_with(&t, LOG_DSA);
    qdsa_writeq(d, A_DSA_EVLCFG, UINT64_MAX);
    qdsa_writeq(d, A_DSA_EVLCFG + 8, UINT64_MAX);
    g_assert_cmphex(qdsa_readq(d, A_DSA_EVLCFG), ==, -(uint64_t)PAGE | 3);
    g_assert_cmphex(qdsa_readq(d, A_DSA_EVLCFG + 8), ==, 0xfffffffffULL);
    qdsa_writeq(d, A_DSA_EVLSTATUS, UINT64_MAX);
    g_assert_cmphex(log_status(&t), ==, 0xffff);

    log_configure(&t, t.log, LOG_SIZE);
    qdsa_start(d, 0);
    /* Enabling the device clears it; it is read-only then */
    g_assert_cmphex(log_status(&t), ==, 0);
    qdsa_writeq(d, A_DSA_EVLCFG, 0);
    qdsa_writeq(d, A_DSA_EVLCFG + 8, 0);
    qdsa_writel(d, A_DSA_GENCFG, 0);
    g_assert_cmphex(qdsa_readq(d, A_DSA_EVLCFG), ==, t.log);
    g_assert_cmphex(qdsa_readq(d, A_DSA_EVLCFG + 8), ==, LOG_SIZE);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENCFG) & R_DSA_GENCFG_EVENT_LOG_MASK,
                    ==, R_DSA_GENCFG_EVENT_LOG_MASK);
    log_set_head(&t, 0x1234);
    g_assert_cmphex(log_status(&t), ==, 0x1234);
    log_stop(&t);
}

/* Table 9-3: initial values */
static void test_resets(void)
{
    const uint64_t status = 1ULL << R_DSA_EVLSTATUS_TAIL_SHIFT | 1;
    LogTest t;
    QDSA *d = &t.dsa;

    log_start(&t);
    log_submit_error(&t);
    log_wait_tail(&t, 1);
    log_set_head(&t, 1);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RESET_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_readq(d, A_DSA_EVLCFG), ==, 0);
    g_assert_cmphex(qdsa_readq(d, A_DSA_EVLCFG + 8), ==, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENCFG) & R_DSA_GENCFG_EVENT_LOG_MASK,
                    ==, 0);
    g_assert_cmphex(log_status(&t), ==, status);

    /* A device that is enabled without log leaves EVLSTATUS alone */
    qdsa_start(d, 0);
    g_assert_cmphex(log_status(&t), ==, status);

    qecam_writew(t.qts, LOG_DEV, 0x40 + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    qdsa_init(d, t.qts, LOG_DEV, d->msi);
    g_assert_cmphex(log_status(&t), ==, 0);
    log_stop(&t);
}

static uint32_t try_enable(LogTest *t, uint64_t low, uint64_t high)
{
    QDSA *d = &t->dsa;
    uint32_t status;

    qdsa_writeq(d, A_DSA_EVLCFG, low);
    qdsa_writeq(d, A_DSA_EVLCFG + 8, high);
    status = qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0);
    qdsa_command(d, DSA_CMD_DISABLE_DEVICE, 0);
    return status;
}

/* 5.1, 5.8.3: Device Enable Checks */
static void test_enable_device(void)
{
    uint16_t pasid;
    LogTest t;
    QDSA *d = &t.dsa;

    log_start_with(&t, LOG_DSA);
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    /* The checks ignore size and address while the log is disabled */
    g_assert_cmphex(try_enable(&t, 0, 0), ==, 0);
    g_assert_cmphex(try_enable(&t, R_DSA_EVLCFG_PASID_EN_MASK, 0), ==,
                    DSA_CMDERR_PASID);

    log_configure(&t, 0, 0);
    g_assert_cmphex(try_enable(&t, 0, 0), ==, DSA_CMDERR_EVENT_LOG);
    g_assert_cmphex(try_enable(&t, 0, 63), ==, DSA_CMDERR_EVENT_LOG);
    g_assert_cmphex(try_enable(&t, 0, 64), ==, 0);
    g_assert_cmphex(try_enable(&t, -(uint64_t)PAGE, 64), ==, 0);
    g_assert_cmphex(try_enable(&t, -(uint64_t)PAGE, 65), ==,
                    DSA_CMDERR_EVENT_LOG);
    g_assert_cmphex(try_enable(&t, 0, UINT16_MAX), ==, 0);

    pasid = qecam_ext_cap(t.qts, LOG_DEV, PCI_EXT_CAP_ID_PASID);
    qecam_writew(t.qts, LOG_DEV, pasid + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
    g_assert_cmphex(try_enable(&t, R_DSA_EVLCFG_PASID_EN_MASK, 64), ==, 0);
    g_assert_cmphex(try_enable(&t, R_DSA_EVLCFG_PASID_EN_MASK |
                               R_DSA_EVLCFG_PRIV_MASK, 64), ==,
                    DSA_CMDERR_PASID);
    qecam_writew(t.qts, LOG_DEV, pasid + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE |
                 PCI_PASID_CTRL_PRIV);
    g_assert_cmphex(try_enable(&t, R_DSA_EVLCFG_PASID_EN_MASK |
                               R_DSA_EVLCFG_PRIV_MASK, 64), ==, 0);
    g_assert_cmphex(try_enable(&t, R_DSA_EVLCFG_PRIV_MASK, 64), ==,
                    DSA_CMDERR_PASID);
    log_stop(&t);
}

/* 5.2: WQ PRS Disable requires the log, and excludes Block on Fault */
static void test_enable_wq(void)
{
    LogTest t;
    QDSA *d = &t.dsa;

    log_start_with(&t, IOMMU_DSA);
    attach_iommu(&t);
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED | LOG_PRS_DISABLE);
    qdsa_configure_wq(d, 1, 16, DSA_WQ_DEDICATED | LOG_PRS_DISABLE |
                      R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==,
                    DSA_CMDERR_WQ_PRS);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_DEVICE, 0), ==, 0);
    log_configure(&t, IOVA_LOG, LOG_SIZE);
    qdsa_enable(d);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 1), ==,
                    DSA_CMDERR_WQ_PRS);
    log_stop(&t);
}

/* ---- Logged errors ---- */

/* 5.8.1, Table 5-9: errors that a device without log reports in SWERROR */
static void test_errors(void)
{
    QDSADesc desc;
    LogEvent e;
    LogTest t;

    log_start(&t);
    log_submit_error(&t);
    e = log_expect_event(&t, 0, DSA_STATUS_FLAGS, DSA_OP_COMPARE);
    g_assert_cmphex(event_info(&e), ==, LOG_CR);
    g_assert_cmphex(EVENT_FIELD(&e, INFO_VALID), ==, 0);
    g_assert_cmphex(EVENT_FIELD(&e, BATCH), ==, 0);
    g_assert_cmphex(e.q[0] & (R_DSA_SWERROR_VALID_MASK |
                              R_DSA_SWERROR_OVERFLOW_MASK), ==, 0);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, 0);

    log_submit_noop(&t, 0, t.cr + 16);
    log_expect_event(&t, 1, DSA_STATUS_CR_ALIGN, DSA_OP_NOOP);

    /* An error that has a completion record is reported only there */
    qdsa_desc(&desc, DSA_OP_COUNT, LOG_CR, t.cr);
    qdsa_submit(&t.dsa, &desc);
    g_assert_cmphex(log_wait_record(&t, 0), ==, DSA_STATUS_OPERATION);
    g_assert_cmpuint(log_tail(&t), ==, 2);
    g_assert_cmphex(qdsa_swerror(&t.dsa), ==, 0);
    log_stop(&t);
}

/* 5.8.1: the completion record reports an invalid handle, too */
static void test_int_handle(void)
{
    const uint32_t info = LOG_HANDLE | R_DSA_EVENT_INFO_INT_REQUIRED_MASK;
    QDSADesc desc;
    LogEvent e;
    LogTest t;

    log_start(&t);
    permit_handle(&t, false);
    log_submit_noop(&t, DSA_FLAG_REQUEST_INT, t.cr);
    g_assert_cmphex(log_wait_record(&t, 0), ==, DSA_STATUS_INT_HANDLE);
    e = log_expect_event(&t, 0, DSA_STATUS_INT_HANDLE, DSA_OP_NOOP);
    g_assert_cmphex(EVENT_FIELD(&e, INFO_VALID), ==, 1);
    g_assert_cmphex(event_info(&e), ==,
                    info | R_DSA_EVENT_INFO_CR_REQUIRED_MASK);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, DSA_STATUS_INT_HANDLE);

    qdsa_desc(&desc, DSA_OP_NOOP, DSA_FLAG_REQUEST_INT, 0);
    log_desc_handle(&desc, LOG_HANDLE);
    qdsa_submit(&t.dsa, &desc);
    e = log_expect_event(&t, 1, DSA_STATUS_INT_HANDLE, DSA_OP_NOOP);
    g_assert_cmphex(event_info(&e), ==, info);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, 0);
    expect_no_msi(&t, LOG_HANDLE);
    log_stop(&t);
}

/* 3.13.3: the page of a completion record is missing, PRS is disabled */
static void test_record_fault(void)
{
    const uint64_t fault = IOVA_CR + PAGE + 3 * DSA_CR_SIZE;
    QDSADesc desc;
    LogEvent e;
    LogTest t;

    start_iommu(&t, LOG_PRS_DISABLE);
    permit_handle(&t, true);
    qdsa_desc(&desc, DSA_OP_FILL, LOG_CR, fault);
    qdsa_desc_data(&desc, 0x5a5a5a5a5a5a5a5aULL, IOVA_DATA + PAGE - 16, 64);
    qdsa_submit(&t.dsa, &desc);
    e = log_expect_event(&t, 0, DSA_STATUS_CR_FAULT, DSA_OP_FILL);
    g_assert_cmphex(EVENT_FIELD(&e, RW), ==, 1);
    g_assert_cmphex(EVENT_FIELD(&e, PRIV), ==, 0);
    g_assert_cmphex(EVENT_FIELD(&e, INFO_VALID), ==, 1);
    g_assert_cmphex(event_info(&e), ==, R_DSA_EVENT_INFO_CR_REQUIRED_MASK);
    g_assert_cmphex(e.q[2], ==, fault);
    /* The entry reports the fault of the descriptor, not that of the record */
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==,
                    DSA_STATUS_PAGE_FAULT | DSA_STATUS_WRITE);
    g_assert_cmpuint(ldl_le_p(e.cr + DSA_CR_BYTES_COMPLETED), ==, 16);
    g_assert_cmphex(ldq_le_p(e.cr + DSA_CR_FAULT_ADDR), ==, IOVA_DATA + PAGE);

    /* The device leaves the interrupt to software */
    log_submit_noop(&t, DSA_FLAG_REQUEST_INT, fault);
    e = log_expect_event(&t, 1, DSA_STATUS_CR_FAULT, DSA_OP_NOOP);
    g_assert_cmphex(event_info(&e), ==, LOG_HANDLE |
                    R_DSA_EVENT_INFO_INT_REQUIRED_MASK |
                    R_DSA_EVENT_INFO_CR_REQUIRED_MASK);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, DSA_STATUS_SUCCESS);
    expect_no_msi(&t, LOG_HANDLE);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);
    g_assert_cmphex(qdsa_swerror(&t.dsa), ==, 0);
    log_stop(&t);
}

/* 3.13.2, 5.8.1: the response to the page request is Invalid Request */
static void test_record_invalid_request(void)
{
    QVtdPageReq rq;
    LogEvent e;
    LogTest t;

    start_iommu(&t, 0);
    log_submit_noop(&t, 0, IOVA_CR + PAGE);
    qvtd_prq_wait(&t.prq, 10, &rq);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_INVALID);
    e = log_expect_event(&t, 0, DSA_STATUS_CR_FAULT, DSA_OP_NOOP);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, DSA_STATUS_SUCCESS);
    log_stop(&t);
}

/* Table 5-2: the handle is forbidden while the record waits for its page */
static void test_handle_forbidden(void)
{
    QVtdPageReq rq;
    LogTest t;

    start_iommu(&t, 0);
    permit_handle(&t, true);
    log_submit_noop(&t, DSA_FLAG_REQUEST_INT, IOVA_CR + PAGE);
    qvtd_prq_wait(&t.prq, 10, &rq);
    permit_handle(&t, false);
    map(&t, t.root, IOVA_CR + PAGE, t.cr);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(log_wait_record(&t, 0), ==, DSA_STATUS_SUCCESS);
    expect_no_msi(&t, LOG_HANDLE);
    g_assert_cmpuint(log_tail(&t), ==, 0);
    log_stop(&t);
}

/* 3.13.3: WQ PRS Disable, for accesses other than completion records */
static void test_prs_disable(void)
{
    uint8_t record[DSA_CR_SIZE];
    QDSADesc desc;
    LogTest t;

    start_iommu(&t, LOG_PRS_DISABLE);
    qdsa_desc(&desc, DSA_OP_BATCH, LOG_CR, IOVA_CR);
    qdsa_desc_data(&desc, IOVA_DATA + PAGE, 0, 2);
    qdsa_submit(&t.dsa, &desc);
    g_assert_cmphex(qdsa_wait(&t.dsa, t.cr, record), ==,
                    DSA_STATUS_BATCH_FAULT);
    g_assert_cmphex(ldq_le_p(record + DSA_CR_FAULT_ADDR), ==, IOVA_DATA + PAGE);
    qtest_memset(t.qts, t.cr, 0, DSA_CR_SIZE);

    qdsa_desc(&desc, DSA_OP_DRAIN, LOG_CR | DSA_FLAG_READBACK1_VALID, IOVA_CR);
    qdsa_desc_data(&desc, IOVA_DATA + PAGE, 0, 0);
    qdsa_submit(&t.dsa, &desc);
    g_assert_cmphex(qdsa_wait(&t.dsa, t.cr, record), ==,
                    DSA_STATUS_READBACK_FAULT);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);
    g_assert_cmpuint(log_tail(&t), ==, 0);
    log_stop(&t);
}

/* ---- Batches and drains ---- */

static void put_noop(LogTest *t, unsigned i, uint32_t flags, uint64_t cr)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_NOOP, flags, cr);
    qtest_memwrite(t->qts, t->data + i * DSA_DESC_SIZE, desc.raw,
                   sizeof(desc.raw));
}

static void submit_batch(LogTest *t, uint32_t flags, unsigned n)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_BATCH, flags,
              flags & DSA_FLAG_CR_ADDR_VALID ? IOVA_CR : 0);
    if (flags & DSA_FLAG_REQUEST_INT) {
        log_desc_handle(&desc, LOG_HANDLE);
    }
    qdsa_desc_data(&desc, IOVA_DATA, 0, n);
    qdsa_submit(&t->dsa, &desc);
}

static void expect_member(LogTest *t, unsigned i, unsigned index, bool first)
{
    LogEvent e = log_event(t, i);

    g_assert_cmphex(EVENT_FIELD(&e, ERROR), ==, DSA_STATUS_CR_FAULT);
    g_assert_cmphex(EVENT_FIELD(&e, BATCH), ==, 1);
    g_assert_cmpuint(e.q[1] & 0xffff, ==, index);
    g_assert_cmphex(event_info(&e), ==, R_DSA_EVENT_INFO_CR_REQUIRED_MASK |
                    (first ? R_DSA_EVENT_INFO_FIRST_IN_BATCH_MASK : 0));
}

/* 5.9: a batch completes after the records of its descriptors */
static void test_batch(void)
{
    uint64_t id;
    LogEvent e;
    LogTest t;

    start_iommu(&t, LOG_PRS_DISABLE);
    permit_handle(&t, true);
    put_noop(&t, 0, LOG_CR, IOVA_CR + DSA_CR_SIZE);
    put_noop(&t, 1, LOG_CR, IOVA_CR + PAGE);
    put_noop(&t, 2, LOG_CR, IOVA_CR + PAGE);
    put_noop(&t, 3, 0, 0);
    submit_batch(&t, LOG_CR, 4);
    e = log_expect_event(&t, 2, DSA_STATUS_BATCH_LOGGED, DSA_OP_BATCH);
    g_assert_cmphex(log_wait_record(&t, 1), ==, DSA_STATUS_SUCCESS);
    g_assert_cmphex(event_info(&e), ==, R_DSA_EVENT_INFO_CR_REQUIRED_MASK);
    g_assert_cmphex(e.q[2], ==, IOVA_CR);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, DSA_STATUS_SUCCESS);
    g_assert_cmpuint(ldl_le_p(e.cr + DSA_CR_BYTES_COMPLETED), ==, 4);
    log_expect_no_record(&t, 0);
    id = FIELD_EX64(e.q[0], DSA_EVENT, BATCH_ID);
    expect_member(&t, 0, 1, true);
    expect_member(&t, 1, 2, false);
    for (int i = 0; i < 2; i++) {
        e = log_event(&t, i);
        g_assert_cmphex(FIELD_EX64(e.q[0], DSA_EVENT, BATCH_ID), ==, id);
    }

    /* The next batch starts over; it requests only an interrupt */
    submit_batch(&t, DSA_FLAG_REQUEST_INT, 2);
    e = log_expect_event(&t, 4, DSA_STATUS_BATCH_LOGGED, DSA_OP_BATCH);
    g_assert_cmphex(event_info(&e), ==,
                    LOG_HANDLE | R_DSA_EVENT_INFO_INT_REQUIRED_MASK);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, 0);
    expect_member(&t, 3, 1, true);
    expect_no_msi(&t, LOG_HANDLE);

    /* The completion record is valid, though not requested */
    submit_batch(&t, DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_INT, 2);
    e = log_expect_event(&t, 6, DSA_STATUS_BATCH_LOGGED, DSA_OP_BATCH);
    g_assert_cmphex(event_info(&e), ==,
                    LOG_HANDLE | R_DSA_EVENT_INFO_INT_REQUIRED_MASK);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, DSA_STATUS_SUCCESS);

    /*
     * A batch without completion has no entry; one without errors has none,
     * either
     */
    submit_batch(&t, 0, 2);
    log_wait_tail(&t, 8);
    put_noop(&t, 1, LOG_CR, IOVA_CR + DSA_CR_SIZE);
    submit_batch(&t, LOG_CR, 2);
    g_assert_cmphex(log_wait_record(&t, 0), ==, DSA_STATUS_SUCCESS);
    g_assert_cmpuint(log_tail(&t), ==, 8);
    log_stop(&t);
}

/* 5.8.1: the entry of the batch reports a fault of the descriptor list */
static void test_batch_list_fault(void)
{
    enum { MEMBERS = PAGE / DSA_DESC_SIZE };
    LogTest t;

    start_iommu(&t, LOG_PRS_DISABLE);
    permit_handle(&t, true);
    put_noop(&t, 0, LOG_CR, IOVA_CR + PAGE);
    for (int i = 1; i < MEMBERS; i++) {
        put_noop(&t, i, 0, 0);
    }
    submit_batch(&t, DSA_FLAG_REQUEST_INT, MEMBERS + 1);
    log_expect_event(&t, 1, DSA_STATUS_BATCH_FAULT, DSA_OP_BATCH);
    qdsa_wait_msi(&t.dsa, LOG_HANDLE);
    log_stop(&t);
}

/* 5.9: a successful Drain completes in the log if PRS is disabled */
static void test_drain(void)
{
    LogEvent e;
    LogTest t;

    start_iommu(&t, LOG_PRS_DISABLE);
    log_submit_drain(&t, IOVA_CR);
    e = log_expect_event(&t, 0, DSA_STATUS_DRAIN_LOGGED, DSA_OP_DRAIN);
    g_assert_cmphex(event_info(&e), ==, R_DSA_EVENT_INFO_CR_REQUIRED_MASK);
    g_assert_cmphex(e.q[2], ==, IOVA_CR);
    g_assert_cmphex(e.cr[DSA_CR_STATUS], ==, DSA_STATUS_SUCCESS);
    log_expect_no_record(&t, 0);
    log_stop(&t);

    start_iommu(&t, 0);
    log_submit_drain(&t, IOVA_CR);
    g_assert_cmphex(log_wait_record(&t, 0), ==, DSA_STATUS_SUCCESS);
    g_assert_cmpuint(log_tail(&t), ==, 0);
    log_stop(&t);

    /* Enable is 0 in PRSCTL */
    log_start(&t);
    log_submit_drain(&t, t.cr);
    log_expect_event(&t, 0, DSA_STATUS_DRAIN_LOGGED, DSA_OP_DRAIN);
    log_stop(&t);
}

/* ---- Address of the log ---- */

/* 5.8.2: an entry that cannot be written is lost, and no page is requested */
static void test_entry_not_writable(void)
{
    LogTest t;

    log_start_with(&t, IOMMU_DSA);
    attach_iommu(&t);
    log_configure(&t, IOVA_LOG, LOG_SIZE);
    start_wq(&t, 0);
    log_submit_error(&t);
    qdsa_wait_swerror(&t.dsa, DSA_SWERROR_EVENT_LOG);
    g_assert_cmphex(log_status(&t), ==, 0);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);

    /* The log continues in the same entry once the page is present */
    map(&t, t.root0, IOVA_LOG, t.log);
    log_submit_error(&t);
    log_expect_event(&t, 0, DSA_STATUS_FLAGS, DSA_OP_COMPARE);
    log_stop(&t);
}

/* 9.2.16: the log in the address space of a PASID */
static void test_pasid(void)
{
    LogTest t;
    QDSA *d = &t.dsa;

    log_start_with(&t, IOMMU_DSA);
    attach_iommu(&t);
    map(&t, t.root, IOVA_LOG, t.log);
    log_configure(&t, IOVA_LOG | R_DSA_EVLCFG_PASID_EN_MASK,
                  LOG_SIZE | LOG_PROCESS << R_DSA_EVLCFG1_PASID_SHIFT);
    start_wq(&t, 0);
    log_submit_error(&t);
    log_expect_event(&t, 0, DSA_STATUS_FLAGS, DSA_OP_COMPARE);
    g_assert_cmphex(qdsa_readl(d, A_DSA_SWERROR), ==, 0);
    log_stop(&t);
}

/* ---- Interrupt ---- */

/* 5.9, 9.2.9, 9.2.11: no second one until software clears Interrupt Pending */
static void test_interrupt(void)
{
    LogTest t;
    QDSA *d = &t.dsa;

    log_start(&t);
    log_submit_error(&t);
    log_wait_tail(&t, 1);
    expect_no_msi(&t, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==, 0);

    qdsa_writel(d, A_DSA_GENCTRL, R_DSA_GENCTRL_EVENT_LOG_INT_MASK);
    log_submit_error(&t);
    qdsa_wait_msi(d, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==,
                    R_DSA_INTCAUSE_EVENT_LOG_MASK);
    qdsa_writel(d, A_DSA_INTCAUSE, R_DSA_INTCAUSE_EVENT_LOG_MASK);
    g_assert_cmphex(log_status(&t), ==, R_DSA_EVLSTATUS_INT_PENDING_MASK |
                    2ULL << R_DSA_EVLSTATUS_TAIL_SHIFT);

    log_submit_error(&t);
    log_wait_tail(&t, 3);
    expect_no_msi(&t, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==, 0);

    /* Write only the upper half, as Linux does */
    log_set_head(&t, 3);
    qdsa_writel(d, A_DSA_EVLSTATUS + 4,
                R_DSA_EVLSTATUS_INT_PENDING_MASK >> 32);
    g_assert_cmphex(log_status(&t), ==,
                    3ULL << R_DSA_EVLSTATUS_TAIL_SHIFT | 3);
    log_submit_error(&t);
    qdsa_wait_msi(d, 0);
    log_stop(&t);
}

/* ---- Migration ---- */

static void load(LogTest *t, const char *path, const char *args)
{
    t->qts = qtest_initf(LOG_MACHINE "%s -incoming defer", args);
    t->dsa.qts = t->vtd.qts = t->qts;
    qatd_load_machine(t->qts, path);
}

/* Registers, the entries of a batch, and a written record are migrated */
static void test_migrate(void)
{
    g_autofree char *path = NULL;
    QDSADesc desc;
    LogEvent e;
    LogTest t;

    start_iommu(&t, LOG_PRS_DISABLE);
    log_set_head(&t, 3);
    put_noop(&t, 0, LOG_CR, IOVA_CR + PAGE);
    put_noop(&t, 1, LOG_CR, IOVA_CR + PAGE);
    /* The handle is not permitted: the device first writes the record */
    qdsa_desc(&desc, DSA_OP_NOOP, LOG_CR | DSA_FLAG_REQUEST_INT,
              IOVA_CR + DSA_CR_SIZE);
    log_desc_handle(&desc, LOG_HANDLE);
    qtest_memwrite(t.qts, t.data + 2 * DSA_DESC_SIZE, desc.raw,
                   sizeof(desc.raw));
    submit_batch(&t, LOG_CR, 3);
    g_assert_cmphex(log_wait_record(&t, 1), ==, DSA_STATUS_INT_HANDLE);
    log_submit_noop(&t, 0, IOVA_CR + PAGE);
    g_assert_cmpuint(log_tail(&t), ==, 2);
    path = qatd_save_machine(t.qts);

    load(&t, path, IOMMU_DSA);
    g_assert_cmphex(qdsa_readq(&t.dsa, A_DSA_EVLCFG), ==, IOVA_LOG);
    g_assert_cmphex(qdsa_readq(&t.dsa, A_DSA_EVLCFG + 8), ==, LOG_SIZE);
    g_assert_cmphex(log_status(&t), ==, 2ULL << R_DSA_EVLSTATUS_TAIL_SHIFT | 3);
    log_set_head(&t, 2);
    log_expect_event(&t, 4, DSA_STATUS_CR_FAULT, DSA_OP_NOOP);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);
    expect_member(&t, 0, 0, true);
    expect_member(&t, 1, 1, false);
    e = log_event(&t, 2);
    g_assert_cmphex(EVENT_FIELD(&e, ERROR), ==, DSA_STATUS_INT_HANDLE);
    g_assert_cmphex(event_info(&e) & R_DSA_EVENT_INFO_FIRST_IN_BATCH_MASK, ==,
                    0);
    e = log_event(&t, 3);
    g_assert_cmphex(EVENT_FIELD(&e, ERROR), ==, DSA_STATUS_BATCH_LOGGED);
    log_expect_no_record(&t, 1);
    log_stop(&t);
}

/* Both sides must have the same value of the property */
static void test_migrate_mismatch(void)
{
    static const char *const args[] = { LOG_DSA, "-device dsa,addr=4" };

    for (int i = 0; i < ARRAY_SIZE(args); i++) {
        g_autofree char *path = NULL, *end = NULL;
        LogTest t;

        log_start_with(&t, args[i]);
        path = qatd_save_machine(t.qts);
        t.qts = qtest_initf(LOG_MACHINE "%s -incoming defer", args[!i]);
        end = qatd_try_load_machine(t.qts, path);
        g_assert_cmpstr(end, ==, "failed");
        unlink(path);
        log_stop(&t);
    }
}

/* The destination rejects invalid streams: tail beyond the end, empty log */
static void test_migrate_hostile(void)
{
    static const struct {
        int offset; /* from the size, of which this is the last byte */
        uint8_t val;
    } bytes[] = {
        { 0, 0 }, { 4, LOG_SIZE },
    };
    g_autofree char *path = NULL, *stream = NULL;
    uint8_t key[16] = { };
    size_t len, place;
    LogTest t;

    log_start(&t);
    stq_be_p(key, t.log);
    stq_be_p(key + 8, LOG_SIZE);
    path = qatd_save_machine(t.qts);
    g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
    for (place = 0; memcmp(stream + place, key, sizeof(key)); place++) {
        g_assert_cmpuint(place + sizeof(key), <, len);
    }
    place += sizeof(key) - 1;
    for (int i = 0; i < ARRAY_SIZE(bytes); i++) {
        uint8_t old = stream[place + bytes[i].offset];

        g_test_message("case %d", i);
        stream[place + bytes[i].offset] = bytes[i].val;
        qatd_expect_load(LOG_MACHINE LOG_DSA "-incoming defer", path, stream,
                         len, "failed");
        stream[place + bytes[i].offset] = old;
    }
    unlink(path);
    alloc_destroy(&t.alloc);
}

int main(int argc, char **argv)
{
    if (!qdsa_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/event-log/capabilities", test_capabilities);
    qtest_add_func("/dsa/event-log/registers", test_registers);
    qtest_add_func("/dsa/event-log/resets", test_resets);
    qtest_add_func("/dsa/event-log/enable-device", test_enable_device);
    qtest_add_func("/dsa/event-log/enable-wq", test_enable_wq);
    qtest_add_func("/dsa/event-log/errors", test_errors);
    qtest_add_func("/dsa/event-log/int-handle", test_int_handle);
    qtest_add_func("/dsa/event-log/completion-record-fault", test_record_fault);
    qtest_add_func("/dsa/event-log/completion-record-invalid-request",
                   test_record_invalid_request);
    qtest_add_func("/dsa/event-log/handle-forbidden", test_handle_forbidden);
    qtest_add_func("/dsa/event-log/prs-disable", test_prs_disable);
    qtest_add_func("/dsa/event-log/batch", test_batch);
    qtest_add_func("/dsa/event-log/batch-list-fault", test_batch_list_fault);
    qtest_add_func("/dsa/event-log/drain", test_drain);
    qtest_add_func("/dsa/event-log/entry-not-writable",
                   test_entry_not_writable);
    qtest_add_func("/dsa/event-log/pasid", test_pasid);
    qtest_add_func("/dsa/event-log/interrupt", test_interrupt);
    qtest_add_func("/dsa/event-log/migrate", test_migrate);
    qtest_add_func("/dsa/event-log/migrate-mismatch", test_migrate_mismatch);
    qtest_add_func("/dsa/event-log/migrate-hostile", test_migrate_hostile);
    return g_test_run();
}
