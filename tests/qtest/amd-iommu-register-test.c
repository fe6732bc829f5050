/*
 * QTest testcase for the registers and interrupts of amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/amdvi.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"

/* COMPLETION_WAIT with an interrupt (2.4.1) */
#define INTERRUPT   (QAMDVI_COMMAND(COMPLETION_WAIT) | 1ULL << 1)

#define DEVICE      QATD_BDF(0, 4, 0)

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QAMDVI iommu;
} Fixture;

static void fixture_start(Fixture *f)
{
    f->qts = qtest_init("-M q35 -nodefaults -m 256M -device amd-iommu "
                        "-device pci-ats-testdev,addr=4");
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qamdvi_init(&f->iommu, f->qts, &f->alloc);
}

static void fixture_stop(Fixture *f)
{
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

static uint64_t reg_addr(unsigned reg)
{
    return AMDVI_BASE_ADDR + reg;
}

static uint64_t status(Fixture *f)
{
    return qamdvi_read(&f->iommu, AMDVI_MMIO_STATUS);
}

/* Every width returns the same bytes */
static void check_reads(Fixture *f, unsigned reg)
{
    uint64_t val = qamdvi_read(&f->iommu, reg);

    for (unsigned i = 0; i < 8; i++) {
        g_assert_cmphex(qtest_readb(f->qts, reg_addr(reg) + i), ==,
                        extract64(val, i * 8, 8));
    }
    for (unsigned i = 0; i < 8; i += 2) {
        g_assert_cmphex(qtest_readw(f->qts, reg_addr(reg) + i), ==,
                        extract64(val, i * 8, 16));
    }
    for (unsigned i = 0; i < 8; i += 4) {
        g_assert_cmphex(qtest_readl(f->qts, reg_addr(reg) + i), ==,
                        extract64(val, i * 8, 32));
    }
}

static void test_read(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_enable(&f.iommu, 0);
    check_reads(&f, AMDVI_MMIO_DEVICE_TABLE);
    check_reads(&f, AMDVI_MMIO_COMMAND_BASE);
    check_reads(&f, AMDVI_MMIO_CONTROL);
    check_reads(&f, AMDVI_MMIO_EXT_FEATURES);
    check_reads(&f, AMDVI_MMIO_STATUS);
    fixture_stop(&f);
}

/* Every width writes the bytes that it names, and no others */
static void test_write(void)
{
    uint64_t base = reg_addr(AMDVI_MMIO_EVENT_BASE);
    Fixture f;

    fixture_start(&f);
    qtest_writeq(f.qts, base, 0);
    qtest_writeb(f.qts, base + 7, 9);
    g_assert_cmphex(qtest_readq(f.qts, base), ==, 9ULL << 56);
    qtest_writeb(f.qts, base + 1, 0x50);
    g_assert_cmphex(qtest_readq(f.qts, base), ==, 9ULL << 56 | 0x5000);
    qtest_writew(f.qts, base + 2, 0x1234);
    g_assert_cmphex(qtest_readq(f.qts, base), ==, 9ULL << 56 | 0x12345000);
    qtest_writel(f.qts, base + 4, 8U << 24 | 1);
    g_assert_cmphex(qtest_readq(f.qts, base), ==, 8ULL << 56 | 0x112345000ULL);
    fixture_stop(&f);
}

/* MMIO 0018h: the same with side effects; bit 4 of byte 1 is CmdBufEn */
static void test_write_control(void)
{
    uint64_t control = reg_addr(AMDVI_MMIO_CONTROL);
    Fixture f;

    fixture_start(&f);
    qtest_writeb(f.qts, control, AMDVI_MMIO_CONTROL_AMDVIEN);
    g_assert_false(status(&f) & AMDVI_MMIO_STATUS_CMDBUF_RUN);
    qtest_writeb(f.qts, control + 1, AMDVI_MMIO_CONTROL_CMDBUFLEN >> 8);
    g_assert_true(status(&f) & AMDVI_MMIO_STATUS_CMDBUF_RUN);
    g_assert_true(qamdvi_completes(&f.iommu));
    qtest_writeb(f.qts, control + 1, 0);
    g_assert_false(status(&f) & AMDVI_MMIO_STATUS_CMDBUF_RUN);
    fixture_stop(&f);
}

/* MMIO 0008h: the lower half is written last, or alone */
static void test_command_base_halves(void)
{
    uint64_t base = reg_addr(AMDVI_MMIO_COMMAND_BASE);
    Fixture f;

    fixture_start(&f);
    qtest_writeq(f.qts, base, 0);
    qtest_writel(f.qts, base + 4, 8U << 24 | f.iommu.commands >> 32);
    qtest_writel(f.qts, base, f.iommu.commands);
    qamdvi_enable(&f.iommu, 0);
    g_assert_true(qamdvi_completes(&f.iommu));
    fixture_stop(&f);
}

static bool reads(QATD *dev, uint64_t iova)
{
    return qatd_command(dev, ATD_CMD_DMA_READ, QATD_NO_PASID, iova, 8, 0) == 0;
}

/*
 * MMIO 0000h: the same for the device table.  The entry of the other table
 * does not allow any access.
 */
static void test_device_table_halves(void)
{
    const uint64_t blocked[4] = {
        AMDVI_DEV_VALID | AMDVI_DEV_TRANSLATION_VALID |
        1ULL << AMDVI_DEV_MODE_RSHIFT
    };
    uint64_t page;
    Fixture f;
    QATD dev;

    fixture_start(&f);
    qatd_init(&dev, f.qts, DEVICE, 0);
    page = guest_alloc(&f.alloc, 2 * AMDVI_PAGE_SIZE);
    qamdvi_set_dte(&f.iommu, DEVICE, blocked);
    qamdvi_enable(&f.iommu, 0);
    g_assert_false(reads(&dev, page));

    qtest_memset(f.qts, page, 0, 2 * AMDVI_PAGE_SIZE);
    qtest_writel(f.qts, reg_addr(AMDVI_MMIO_DEVICE_TABLE), page | 1);
    g_assert_true(reads(&dev, page));
    fixture_stop(&f);
}

/* The fields of each register; the rest of it is reserved */
static void test_reserved(void)
{
    static const struct {
        unsigned reg;
        uint64_t fields;
    } regs[] = {
        { AMDVI_MMIO_DEVICE_TABLE, 0x000ffffffffff1ff },
        { AMDVI_MMIO_COMMAND_BASE, 0x0f0ffffffffff000 },
        { AMDVI_MMIO_EVENT_BASE, 0x0f0ffffffffff000 },
        { AMDVI_MMIO_EXCL_BASE, 0x000ffffffffff003 },
        { AMDVI_MMIO_EXCL_LIMIT, 0x000ffffffffff000 },
        { AMDVI_MMIO_PPR_BASE, 0x0f0ffffffffff000 },
        { AMDVI_MMIO_COMMAND_HEAD, 0x7fff0 },
        { AMDVI_MMIO_COMMAND_TAIL, 0x7fff0 },
        { AMDVI_MMIO_EVENT_HEAD, 0x7fff0 },
        { AMDVI_MMIO_EVENT_TAIL, 0x7fff0 },
        { AMDVI_MMIO_PPR_HEAD, 0x7fff0 },
        { AMDVI_MMIO_PPR_TAIL, 0x7fff0 },
    };
    uint64_t features;
    Fixture f;

    fixture_start(&f);
    /* The largest buffers, so that all bits of the pointers have a meaning */
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        qamdvi_write(&f.iommu, regs[i].reg, UINT64_MAX);
        g_assert_cmphex(qamdvi_read(&f.iommu, regs[i].reg), ==,
                        regs[i].fields);
        qamdvi_write(&f.iommu, regs[i].reg, 0);
        g_assert_cmphex(qamdvi_read(&f.iommu, regs[i].reg), ==, 0);
        qamdvi_write(&f.iommu, regs[i].reg, regs[i].fields);
    }
    features = qamdvi_read(&f.iommu, AMDVI_MMIO_EXT_FEATURES);
    qamdvi_write(&f.iommu, AMDVI_MMIO_EXT_FEATURES, ~features);
    g_assert_cmphex(qamdvi_read(&f.iommu, AMDVI_MMIO_EXT_FEATURES), ==,
                    features);
    qtest_system_reset(f.qts);
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        g_assert_cmphex(qamdvi_read(&f.iommu, regs[i].reg), ==, 0);
    }
    fixture_stop(&f);
}

/* MMIO 2020h: bits are RW1C or RO */
static void test_status(void)
{
    const uint64_t run = AMDVI_MMIO_STATUS_CMDBUF_RUN |
                         AMDVI_MMIO_STATUS_EVT_RUN;
    Fixture f;

    fixture_start(&f);
    g_assert_cmphex(status(&f), ==, 0);
    qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, UINT64_MAX);
    g_assert_cmphex(status(&f), ==, 0);
    qamdvi_enable(&f.iommu, 0);
    g_assert_cmphex(status(&f), ==, run);
    qamdvi_command(&f.iommu, INTERRUPT, 0);
    g_assert_cmphex(status(&f), ==, run | AMDVI_MMIO_STATUS_COMP_INT);

    qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, 0);
    g_assert_cmphex(status(&f), ==, run | AMDVI_MMIO_STATUS_COMP_INT);
    qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, ~AMDVI_MMIO_STATUS_COMP_INT);
    g_assert_cmphex(status(&f), ==, run | AMDVI_MMIO_STATUS_COMP_INT);
    qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_COMP_INT);
    g_assert_cmphex(status(&f), ==, run);

    qamdvi_command(&f.iommu, INTERRUPT, 0);
    qtest_writel(f.qts, reg_addr(AMDVI_MMIO_STATUS) + 4, UINT32_MAX);
    g_assert_cmphex(status(&f), ==, run | AMDVI_MMIO_STATUS_COMP_INT);
    qtest_writeb(f.qts, reg_addr(AMDVI_MMIO_STATUS), UINT8_MAX);
    g_assert_cmphex(status(&f), ==, run);
    fixture_stop(&f);
}

/* 2.4.1: ComWaitInt is set in any case, ComWaitIntEn allows the interrupt */
static void test_interrupt_disabled(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_enable_msi(&f.iommu);
    qamdvi_enable(&f.iommu, AMDVI_MMIO_CONTROL_EVENTINTEN);
    qamdvi_command(&f.iommu, INTERRUPT, 0);
    g_assert_true(status(&f) & AMDVI_MMIO_STATUS_COMP_INT);
    g_assert_false(qamdvi_take_msi(&f.iommu));

    /* MMIO 0018h, 2020h: both bits are set now */
    qamdvi_enable(&f.iommu, AMDVI_MMIO_CONTROL_COMWAITINTEN);
    g_assert_true(qamdvi_take_msi(&f.iommu));
    qamdvi_enable(&f.iommu, AMDVI_MMIO_CONTROL_COMWAITINTEN);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    fixture_stop(&f);
}

/* MMIO 2020h: an interrupt for each time that ComWaitInt becomes set */
static void test_interrupt_again(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_enable_msi(&f.iommu);
    qamdvi_enable(&f.iommu, AMDVI_MMIO_CONTROL_COMWAITINTEN);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    qamdvi_command(&f.iommu, QAMDVI_COMMAND(COMPLETION_WAIT), 0);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    for (unsigned i = 0; i < 3; i++) {
        qamdvi_command(&f.iommu, INTERRUPT, 0);
        g_assert_true(qamdvi_take_msi(&f.iommu));
        qamdvi_command(&f.iommu, INTERRUPT, 0);
        g_assert_false(qamdvi_take_msi(&f.iommu));
        qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_COMP_INT);
        g_assert_false(qamdvi_take_msi(&f.iommu));
    }
    fixture_stop(&f);
}

/* ---- XT IOMMU General Interrupt Control (MMIO 0170h), with XTSup ---- */

#define XT_VECTOR(vector)   ((uint64_t)(vector) << 32)

/* Returns whether the local APIC has an interrupt with the vector pending */
static bool has_interrupt(Fixture *f, unsigned vector)
{
    g_autofree char *lapic = qtest_hmp(f->qts, "info lapic 0");
    g_autofree char *irr = g_strdup(strstr(lapic, "IRR"));
    g_autofree char *number = g_strdup_printf(" %u", vector);

    *strchrnul(irr, '\n') = '\0';
    return strstr(irr, number);
}

static void xt_start(Fixture *f, const char *xtsup)
{
    f->qts = qtest_initf("-M q35 -nodefaults -m 256M "
                         "-device amd-iommu,xtsup=%s", xtsup);
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qamdvi_init(&f->iommu, f->qts, &f->alloc);
    qamdvi_enable_msi(&f->iommu);
    qamdvi_enable(&f->iommu, AMDVI_MMIO_CONTROL_COMWAITINTEN |
                  AMDVI_MMIO_CONTROL_INTCAPXTEN);
}

/* MMIO 0018h: IntCapXTEn = 1, the interrupt is not an MSI */
static void test_xt(void)
{
    Fixture f;

    xt_start(&f, "on");
    qamdvi_write(&f.iommu, AMDVI_MMIO_XT_INTERRUPT, UINT64_MAX);
    g_assert_cmphex(qamdvi_read(&f.iommu, AMDVI_MMIO_XT_INTERRUPT), ==,
                    0xff0001ffffffff04);
    qamdvi_write(&f.iommu, AMDVI_MMIO_XT_INTERRUPT, XT_VECTOR(81));
    g_assert_false(has_interrupt(&f, 81));
    qamdvi_command(&f.iommu, INTERRUPT, 0);
    g_assert_true(has_interrupt(&f, 81));
    g_assert_false(qamdvi_take_msi(&f.iommu));
    fixture_stop(&f);
}

/* Linux masks the interrupt by writing 0, and must not lose it */
static void test_xt_masked(void)
{
    Fixture f;

    xt_start(&f, "on");
    qamdvi_write(&f.iommu, AMDVI_MMIO_XT_INTERRUPT, 0);
    qamdvi_command(&f.iommu, INTERRUPT, 0);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    qamdvi_write(&f.iommu, AMDVI_MMIO_XT_INTERRUPT, XT_VECTOR(82));
    g_assert_true(has_interrupt(&f, 82));
    qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_COMP_INT);
    qamdvi_write(&f.iommu, AMDVI_MMIO_XT_INTERRUPT, XT_VECTOR(83));
    g_assert_false(has_interrupt(&f, 83));
    fixture_stop(&f);
}

/* MMIO 0030h: XTSup = 0, there is neither the register nor IntCapXTEn */
static void test_xt_off(void)
{
    Fixture f;

    xt_start(&f, "off");
    qamdvi_write(&f.iommu, AMDVI_MMIO_XT_INTERRUPT, XT_VECTOR(81));
    g_assert_cmphex(qamdvi_read(&f.iommu, AMDVI_MMIO_XT_INTERRUPT), ==, 0);
    qamdvi_command(&f.iommu, INTERRUPT, 0);
    g_assert_true(qamdvi_take_msi(&f.iommu));
    g_assert_false(has_interrupt(&f, 81));
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/register/read", test_read);
    qtest_add_func("/amd-iommu/register/write", test_write);
    qtest_add_func("/amd-iommu/register/write-control", test_write_control);
    qtest_add_func("/amd-iommu/register/command-base-halves",
                   test_command_base_halves);
    qtest_add_func("/amd-iommu/register/device-table-halves",
                   test_device_table_halves);
    qtest_add_func("/amd-iommu/register/reserved", test_reserved);
    qtest_add_func("/amd-iommu/register/status", test_status);
    qtest_add_func("/amd-iommu/interrupt/disabled", test_interrupt_disabled);
    qtest_add_func("/amd-iommu/interrupt/again", test_interrupt_again);
    qtest_add_func("/amd-iommu/interrupt/xt", test_xt);
    qtest_add_func("/amd-iommu/interrupt/xt-masked", test_xt_masked);
    qtest_add_func("/amd-iommu/interrupt/xt-off", test_xt_off);
    return g_test_run();
}
