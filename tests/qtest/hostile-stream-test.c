/*
 * QTest testcase for migration streams that hold what no machine has saved
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A field that would lead astray is refused, with an error that names it.
 * "scripts/fuzz streams" finds fields that are missing here.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/stream.h"

#define MACHINE "-M q35 -nodefaults -m 16 "

typedef struct Case {
    const char *path;
    unsigned size;              /* of the field, in bytes */
    uint64_t val;
    const char *error;          /* or NULL if this is fine */
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

/* A machine that was just started, with one field changed at a time */
static void check_cases(const char *args, const char *device,
                        const Case *cases, size_t n)
{
    QStream *s = qstream_save(qtest_init(args));

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
    check_cases(MACHINE "-device intel-iommu", "iommu-intel", iommu_cases,
                ARRAY_SIZE(iommu_cases));
}

static void test_iommu_svm(void)
{
    check_cases(MACHINE "-device intel-iommu,svm=on", "iommu-intel",
                iommu_cases, ARRAY_SIZE(iommu_cases));
}

/* Flags that agree with the registers, but not with each other */
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/hostile-stream/iommu", test_iommu);
    qtest_add_func("/hostile-stream/iommu-svm", test_iommu_svm);
    qtest_add_func("/hostile-stream/iommu-enabled", test_iommu_enabled);
    return g_test_run();
}
