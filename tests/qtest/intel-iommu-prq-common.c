/*
 * QTest testcases for page requests of intel-iommu: the machine and the checks
 * that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "libqos/malloc-pc.h"
#include "intel-iommu-prq-common.h"

uint32_t prq_readl(PrqTest *t, uint64_t reg)
{
    return qvtd_readl(t->qts, reg);
}

uint64_t prq_readq(PrqTest *t, uint64_t reg)
{
    return qvtd_readq(t->qts, reg);
}

void prq_writel(PrqTest *t, uint64_t reg, uint32_t val)
{
    qvtd_writel(t->qts, reg, val);
}

void prq_writeq(PrqTest *t, uint64_t reg, uint64_t val)
{
    qvtd_writeq(t->qts, reg, val);
}

/* ---- Setup ---- */

uint64_t prq_attach(PrqTest *t, uint16_t bdf)
{
    uint64_t dir = qvtd_sm_attach(&t->vtd, bdf, PRQ_CE, 0);

    qvtd_sm_pasid(&t->vtd, dir, 0, PRQ_PE0, PRQ_PE1, qvtd_new_table(&t->vtd));
    qvtd_sm_pasid(&t->vtd, dir, PRQ_PASID, PRQ_PE0, PRQ_PE1,
                  qvtd_new_table(&t->vtd));
    qvtd_sm_pasid(&t->vtd, dir, PRQ_PASID + 1, PRQ_PE0, PRQ_PE1,
                  qvtd_new_table(&t->vtd));
    return dir;
}

void prq_register(QATD *d)
{
    for (uint32_t pasid = PRQ_PASID; pasid <= PRQ_PASID + 1; pasid++) {
        g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_PRI, pasid, 0, 0, 0),
                        ==, 0);
    }
    g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_PRI, PRQ_NONE, 0, 0,
                                 0), ==,
                    0);
}

QTestState *prq_start_machine(const char *iommu, const char *more)
{
    return qtest_initf("-M q35 -nodefaults -device intel-iommu,%s "
                       "-device pci-ats-testdev,addr=4,pri-capacity=512 "
                       "-device pci-ats-testdev,addr=5 %s", iommu, more);
}

void prq_start_with(PrqTest *t, const char *iommu)
{
    *t = (PrqTest) { };
    t->qts = prq_start_machine(iommu, "");
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->vtd.scalable = true;
    qatd_init(&t->dev, t->qts, PRQ_DEV, 0);
    qatd_init(&t->dev2, t->qts, PRQ_DEV2, 1);
    qatd_enable_all(&t->dev, 512);
    qatd_enable_all(&t->dev2, 32);
}

void prq_start_pqs(PrqTest *t, unsigned pqs)
{
    prq_start_with(t, "svm=on");
    t->dir = prq_attach(t, PRQ_DEV);
    t->dir2 = prq_attach(t, PRQ_DEV2);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, pqs);
    prq_register(&t->dev);
    prq_register(&t->dev2);
}

void prq_start(PrqTest *t)
{
    prq_start_pqs(t, 0);
}

void prq_stop(PrqTest *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* ---- Expectations ---- */

void prq_request(QATD *d, uint32_t pasid, uint64_t addr, uint16_t prgi,
                 uint64_t flags)
{
    g_assert_cmpint(qatd_page_request(d, pasid, addr, prgi, flags), ==, 0);
}

void prq_request_fails(QATD *d, uint32_t pasid, uint64_t addr,
                       uint16_t prgi, uint64_t flags, int error)
{
    g_assert_cmpint(qatd_page_request(d, pasid, addr, prgi, flags), ==, error);
}

void prq_expect_responses(QATD *d, unsigned count)
{
    g_assert_cmpuint(qatd_read(d, ATD_RESP_COUNT), ==, count);
}

void prq_expect_response(QATD *d, unsigned count, uint32_t pasid, uint16_t prgi,
                         int code)
{
    prq_expect_responses(d, count);
    qatd_write(d, ATD_RESP_INDEX, count - 1);
    g_assert_cmphex(qatd_read(d, ATD_RESP_PASID), ==, pasid);
    g_assert_cmphex(qatd_read(d, ATD_RESP_PRGI), ==, prgi);
    g_assert_cmpint(qatd_read(d, ATD_RESP_CODE), ==, code);
}

void prq_expect_queued(PrqTest *t, unsigned count)
{
    g_assert_cmpuint(qvtd_prq_count(&t->prq), ==, count);
}

void prq_next(PrqTest *t, QVtdPageReq *want)
{
    QVtdPageReq req;

    qvtd_prq_next(&t->prq, &req);
    g_assert_cmphex(req.sid, ==, want->sid);
    g_assert_cmphex(req.pasid, ==, want->pasid);
    g_assert_cmphex(req.addr, ==, want->addr);
    g_assert_cmphex(req.prgi, ==, want->prgi);
    g_assert_cmpint(req.last, ==, want->last);
    g_assert_cmpint(req.read, ==, want->read);
    g_assert_cmpint(req.write, ==, want->write);
    g_assert_cmpint(req.exec, ==, want->exec);
    g_assert_cmpint(req.priv, ==, want->priv);
}

void prq_expect_status(PrqTest *t, uint32_t prs, bool pending)
{
    g_assert_cmphex(prq_readl(t, DMAR_PRS_REG), ==, prs);
    g_assert_cmpint(!!(prq_readl(t, DMAR_PECTL_REG) & VTD_PECTL_IP), ==,
                    pending);
}

void prq_no_fault(PrqTest *t)
{
    g_assert_cmphex(prq_readl(t, DMAR_FSTS_REG) & 0x7f, ==, 0);
}

void prq_set_vector(PrqTest *t, unsigned vector)
{
    prq_writel(t, DMAR_PEADDR_REG, 0xfee00000);
    prq_writel(t, DMAR_PEDATA_REG, vector);
}

bool prq_interrupted(PrqTest *t, unsigned vector)
{
    g_autofree char *text = qtest_hmp(t->qts, "info lapic");
    g_autofree char *want = g_strdup_printf(" %u", vector);
    const char *irr = strstr(text, "\nIRR");
    g_autofree char *line = NULL;
    g_auto(GStrv) words = NULL;

    g_assert_nonnull(irr);
    line = g_strndup(irr + 1, strcspn(irr + 1, "\r\n"));
    words = g_strsplit_set(line, " \t", -1);
    return g_strv_contains((const char * const *)words, want + 1);
}
