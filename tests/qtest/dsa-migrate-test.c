/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA): migration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/dma/dsa/vmstate.c describes the fields of the stream.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/i386/intel_iommu_internal.h"
#include "dsa-busy-common.h"

static unsigned occupancy(BusyTest *t)
{
    return FIELD_EX64(qdsa_readq(&t->dsa, qdsa_wqcfg(0, 3)), DSA_WQCFG3,
                      OCCUPANCY);
}

/* No data is written twice, or while the machine is stopped */
static void test_migrate_progress(void)
{
    g_autofree char *path = NULL;
    QVtdPageReq rq, old;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_start_block(&b, true);
    busy_submit(t, 0, DSA_OP_FILL, BUSY_BLOCK, BUSY_PATTERN, BUSY_IOVA_DATA + 4,
                2 * PAGE - 4);
    busy_submit(t, 1, DSA_OP_NOOP, BUSY_CR, 0, 0, 0);
    busy_submit(t, 2, DSA_OP_NOOP, BUSY_CR, 0, 0, 0);
    busy_expect_request(t, BUSY_IOVA_DATA + PAGE, true, &old);
    busy_expect_filled(t, b.data + 4, BUSY_PATTERN, 0, PAGE - 4);
    g_assert_cmpuint(occupancy(t), ==, 2);
    /* Detect whether the destination restarts the operation */
    qtest_memset(t->qts, b.data, 0, PAGE);
    path = qatd_save_machine(t->qts);

    busy_load(t, path, BUSY_IOMMU "-device dsa,addr=4,id=dsa0");
    g_assert_cmpuint(occupancy(t), ==, 2);
    busy_expect_request(t, BUSY_IOVA_DATA + PAGE, true, &rq);
    busy_expect_filled(t, b.data, 0, 0, PAGE);
    busy_map(t, BUSY_IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    busy_expect_record(t, 0, DSA_STATUS_SUCCESS, 0, 0);
    qvtd_prq_respond(&t->prq, &old, VTD_PAGE_RESP_SUCCESS);
    busy_expect_record(t, 1, DSA_STATUS_SUCCESS, 0, 0);
    busy_expect_record(t, 2, DSA_STATUS_SUCCESS, 0, 0);
    busy_expect_filled(t, b.data, 0, 0, PAGE);
    busy_expect_filled(t, b.data + PAGE, BUSY_PATTERN, PAGE - 4, PAGE);
    busy_stop(&b.t);
}

/* Registers, tables, MSI-X and interrupt handles migrate */
static void test_migrate_idle(void)
{
    const uint32_t perm = BUSY_PASID << R_DSA_MSIXPERM_PASID_SHIFT |
                          R_DSA_MSIXPERM_IGNORE_MASK;
    g_autofree char *path = NULL;
    uint64_t cfg[DSA_WQCFG_QWORDS];
    QDSADesc desc;
    BusyTest t;
    QDSA *d = &t.dsa;

    busy_start(&t);
    qdsa_writel(d, qdsa_msixperm(3), perm);
    qdsa_writel(d, A_DSA_GENCTRL, R_DSA_GENCTRL_SWERROR_INT_MASK);
    for (int i = 0; i < ARRAY_SIZE(cfg); i++) {
        cfg[i] = qdsa_readq(d, qdsa_wqcfg(0, i));
    }
    path = qatd_save_machine(t.qts);
    busy_load(&t, path, "-device dsa,addr=4");

    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS), ==, DSA_ENABLED);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENCTRL), ==,
                    R_DSA_GENCTRL_SWERROR_INT_MASK);
    g_assert_cmphex(qdsa_readl(d, qdsa_msixperm(3)), ==, perm);
    for (int i = 0; i < ARRAY_SIZE(cfg); i++) {
        g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, i)), ==, cfg[i]);
    }
    qdsa_desc(&desc, DSA_OP_NOOP, BUSY_CR | DSA_FLAG_REQUEST_INT, t.cr);
    stw_le_p(desc.raw + DSA_DESC_INT_HANDLE, 2);
    qdsa_submit(d, &desc);
    busy_expect_record(&t, 0, DSA_STATUS_SUCCESS, 0, 0);
    qdsa_wait_msi(d, 2);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_WQ, 1), ==, 0);
    busy_stop(&t);
}

/* Properties that are visible to the guest must match */
static void test_migrate_mismatch(void)
{
    static const char *const args[] = {
        "engines=5", "groups=3", "work-queues=9", "work-queue-entries=64",
    };

    for (int i = 0; i < ARRAY_SIZE(args); i++) {
        g_autofree char *path = NULL, *end = NULL;
        BusyTest t;

        busy_start(&t);
        path = qatd_save_machine(t.qts);
        t.qts = qtest_initf(BUSY_MACHINE
                            "-device dsa,addr=4,%s -incoming defer", args[i]);
        end = qatd_try_load_machine(t.qts, path);
        g_assert_cmpstr(end, ==, "failed");
        unlink(path);
        busy_stop(&t);
    }
}

/* Find the descriptor with completion record @n in a stream */
static size_t find_descriptor(const char *stream, size_t len, unsigned n,
                              DSAOperation op)
{
    uint8_t key[9] = { op };

    stq_le_p(key + 1, BUSY_IOVA_CR + n * DSA_CR_SIZE);
    for (size_t i = 0; i + sizeof(key) <= len; i++) {
        if (!memcmp(stream + i, key, sizeof(key))) {
            return i - DSA_DESC_OPERATION;
        }
    }
    g_assert_not_reached();
}

static void expect_load(const char *path, const char *stream, size_t len,
                        const char *expected)
{
    qatd_expect_load(BUSY_MACHINE BUSY_IOMMU "-device dsa,addr=4,id=dsa0 "
                     "-incoming defer", path, stream, len, expected);
}

/* Streams with invalid fields are refused */
static void test_migrate_hostile(void)
{
    /* Offsets from the descriptor in execution, as vmstate.c saves it */
    static const struct {
        unsigned offset;
        uint8_t val;
    } bytes[] = {
        { 64 + 7, 2 },          /* sequence number, not assigned yet */
        { 80, 200 },            /* WQ */
        { 81, 40 },             /* Maximum Transfer Size */
        { 83 + DSA_DESC_OPERATION, 0xff },
        { 83 + DSA_DESC_OPERATION, 0x0f },
        { 83 + DSA_DESC_OPERATION, DSA_OP_NOOP },
        { 83 + DSA_DESC_TRANSFER_SIZE + 3, 0xff },
        { 149, 5 },             /* phase */
        { 162, 0xff },          /* Bytes Completed */
        /* A job with progress is not in phase CHECK */
        { 149, 0 },
        /* A job in phase RUN has no error */
        { 159, 1 },             /* status */
        { 160, 1 },             /* direction of the fault */
        { 161, 1 },             /* Result */
        { 166, 1 },             /* Fault Address */
    };
    g_autofree char *path = NULL, *stream = NULL;
    size_t len, place;
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_begin_block(&b, &rq);
    busy_submit(t, 1, DSA_OP_NOOP, BUSY_CR, 0, 0, 0);
    path = qatd_save_machine(t->qts);
    g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
    expect_load(path, stream, len, "completed");
    place = find_descriptor(stream, len, 0, DSA_OP_FILL);
    for (int i = 0; i < ARRAY_SIZE(bytes); i++) {
        uint8_t old = stream[place + bytes[i].offset];

        g_test_message("case %d", i);
        stream[place + bytes[i].offset] = bytes[i].val;
        expect_load(path, stream, len, "failed");
        stream[place + bytes[i].offset] = old;
    }
    /* The Occupancy precedes the first entry of the WQ */
    place = find_descriptor(stream, len, 1, DSA_OP_NOOP);
    g_assert_cmphex(ldl_be_p(stream + place - 4), ==, 1);
    stl_be_p(stream + place - 4, 129);
    expect_load(path, stream, len, "failed");
    unlink(path);
    alloc_destroy(&t->alloc);
}

/* Bytes Completed of delta operations is a multiple of their unit */
static void test_migrate_hostile_delta(void)
{
    /* The operations wait for their first page */
    static const struct {
        DSAOperation op;
        uint8_t bytes;
        const char *expected;
    } cases[] = {
        { DSA_OP_CREATE_DELTA, 8, "completed" },
        { DSA_OP_CREATE_DELTA, 12, "failed" },
        { DSA_OP_APPLY_DELTA, 10, "completed" },
        { DSA_OP_APPLY_DELTA, 15, "failed" },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = NULL, *stream = NULL;
        size_t len, place;
        QVtdPageReq rq;
        QDSADesc desc;
        BusyBlockTest b;
        BusyTest *t = &b.t;

        g_test_message("case %d", i);
        busy_start_block(&b, true);
        qdsa_desc(&desc, cases[i].op, BUSY_BLOCK, BUSY_IOVA_CR);
        qdsa_desc_data(&desc, BUSY_IOVA_DATA + PAGE, BUSY_IOVA_DATA, 16);
        busy_desc_delta(&desc, cases[i].op, BUSY_IOVA_DATA + 64, 19);
        qdsa_submit(&t->dsa, &desc);
        busy_expect_request(t, BUSY_IOVA_DATA + PAGE, false, &rq);
        path = qatd_save_machine(t->qts);
        g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
        place = find_descriptor(stream, len, 0, cases[i].op);
        stream[place + 165] = cases[i].bytes;
        expect_load(path, stream, len, cases[i].expected);
        unlink(path);
        alloc_destroy(&t->alloc);
    }
}

/* A command cannot end before the descriptors for which it waits */
static void test_migrate_hostile_command(void)
{
    /* Offsets from Reset Device, as vmstate.c saves it */
    static const struct {
        unsigned offset;
        uint8_t val;
    } bytes[] = {
        { 5, 1 },               /* done */
        { 6, 0 },               /* WQs */
        { 18, 1 },              /* by PASID */
        { 26, 0 },              /* end */
        { 26, 2 },
        { 34, 2 },              /* the next sequence number */
    };
    uint8_t key[14] = { };
    g_autofree char *path = NULL, *stream = NULL;
    size_t len, place;
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_begin_block(&b, &rq);
    /* Otherwise the command ends before it is saved */
    busy_stop_machine(t);
    qdsa_writel(&t->dsa, A_DSA_CMD,
                DSA_CMD_RESET_DEVICE << R_DSA_CMD_CODE_SHIFT);
    path = qatd_save_machine(t->qts);
    g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
    expect_load(path, stream, len, "completed");
    stl_be_p(key, DSA_CMD_RESET_DEVICE << R_DSA_CMD_CODE_SHIFT);
    key[4] = true;
    memset(key + 6, 0xff, 8);
    for (place = 0; memcmp(stream + place, key, sizeof(key)); place++) {
        g_assert_cmpuint(place + sizeof(key), <, len);
    }
    for (int i = 0; i < ARRAY_SIZE(bytes); i++) {
        uint8_t old = stream[place + bytes[i].offset];

        g_test_message("case %d", i);
        stream[place + bytes[i].offset] = bytes[i].val;
        expect_load(path, stream, len, "failed");
        stream[place + bytes[i].offset] = old;
    }
    /* Drain All cannot wait for sequence numbers that are not assigned */
    stream[place + 1] = DSA_CMD_DRAIN_ALL << (R_DSA_CMD_CODE_SHIFT - 16);
    expect_load(path, stream, len, "completed");
    stream[place + 26] = 2;
    expect_load(path, stream, len, "failed");
    stream[place + 26] = 1;
    /* The next sequence number is below 2^63 */
    stream[place + 19] = stream[place + 27] = 0x80;
    expect_load(path, stream, len, "failed");
    unlink(path);
    alloc_destroy(&t->alloc);
}

int main(int argc, char **argv)
{
    if (!busy_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/busy/migrate", test_migrate_progress);
    qtest_add_func("/dsa/migrate/idle", test_migrate_idle);
    qtest_add_func("/dsa/migrate/mismatch", test_migrate_mismatch);
    qtest_add_func("/dsa/migrate/hostile", test_migrate_hostile);
    qtest_add_func("/dsa/migrate/hostile-delta", test_migrate_hostile_delta);
    qtest_add_func("/dsa/migrate/hostile-command",
                   test_migrate_hostile_command);
    return g_test_run();
}
