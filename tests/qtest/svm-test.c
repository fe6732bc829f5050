/*
 * QTest testcase for the demo device for shared virtual memory: registers and
 * operations
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/svm.rst describes the interface. The test acts as the guest: it
 * sets up the page tables of the process, and responds to page requests.
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "svm-common.h"

#define MIB2        0x200000ULL

/* ---- The address space of the process ---- */

/* Bit by bit, as in the definition */
static uint8_t crc8(uint8_t crc, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? SVM_DEMO_CRC8_POLYNOMIAL : 0);
        }
    }
    return crc;
}

/* ---- Configuration space and registers ---- */

static void test_config(void)
{
    uint8_t msi;
    SvmTest t;

    svm_start(&t);
    g_assert_cmphex(qecam_readl(t.qts, SVM_DEV, PCI_VENDOR_ID), ==, 0x0b111234);
    g_assert_cmphex(qecam_readl(t.qts, SVM_DEV, PCI_CLASS_REVISION), ==,
                    0x00ff0010);
    msi = qecam_cap(t.qts, t.bdf, PCI_CAP_ID_MSI);
    g_assert_cmphex(svm_conf_readw(&t, msi + PCI_MSI_FLAGS) &
                    (PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_QMASK), ==,
                    PCI_MSI_FLAGS_64BIT);
    g_assert_cmphex(svm_conf_readw(&t, t.pasid + PCI_PASID_CAP), ==,
                    20 << 8 | PCI_PASID_CAP_PRIV);
    g_assert_cmphex(svm_conf_readw(&t, t.ats + PCI_ATS_CAP) &
                    PCI_ATS_CAP_PAGE_ALIGNED, !=, 0);
    g_assert_cmphex(svm_conf_readw(&t, t.pri + PCI_PRI_STATUS) &
                    PCI_PRI_STATUS_PASID, !=, 0);
    g_assert_cmpuint(qecam_readl(t.qts, SVM_DEV, t.pri + PCI_PRI_MAX_REQ), ==,
                     2048);
    qecam_writel(t.qts, SVM_DEV, PCI_BASE_ADDRESS_0, 0xffffffff);
    g_assert_cmphex(qecam_readl(t.qts, SVM_DEV, PCI_BASE_ADDRESS_0), ==,
                    0xfff00000);
    svm_stop(&t);
}

/* Registers ignore accesses of another width */
static void test_access_width(void)
{
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    g_assert_cmphex(svm_read(&t, SVM_DEMO_REG_START), ==, SVM_DEMO_ID);
    g_assert_cmphex(qtest_readl(t.qts, SVM_REGS + SVM_DEMO_REG_START), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, SVM_REGS + SVM_DEMO_REG_START + 4), ==,
                    0);
    g_assert_cmphex(qtest_readq(t.qts, SVM_REGS + SVM_DEMO_REG_PASID), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, SVM_REGS + SVM_DEMO_REGS_SIZE - 8), ==,
                    0);
    /* Write-only registers read as 0 */
    g_assert_cmphex(svm_read(&t, SVM_DEMO_REG_CRC), ==, 0);
    svm_write(&t, SVM_DEMO_REG_SIZE, 16);
    g_assert_cmphex(svm_read(&t, SVM_DEMO_REG_SIZE), ==, 0);

    svm_write(&t, SVM_DEMO_REG_ADDR, SVM_ADDR);
    svm_write(&t, SVM_DEMO_REG_SIZE, 16);
    qtest_writel(t.qts, SVM_REGS + SVM_DEMO_REG_ADDR, 0);
    qtest_writel(t.qts, SVM_REGS + SVM_DEMO_REG_SIZE, 0);
    qtest_writew(t.qts, SVM_REGS + SVM_DEMO_REG_SIZE, 0);
    qtest_writeb(t.qts, SVM_REGS + SVM_DEMO_REG_SIZE, 0);
    qtest_writeq(t.qts, SVM_REGS + SVM_DEMO_REG_PASID, 0);
    qtest_writew(t.qts, SVM_REGS + SVM_DEMO_REG_PASID, 0);
    qtest_writel(t.qts, SVM_REGS + SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    qtest_writeq(t.qts, SVM_REGS + SVM_DEMO_REG_START + 4,
                 SVM_DEMO_START_WRITE);
    svm_write(&t, SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 16, 0);
    svm_check_untouched(&t, gpa + 16, 16);
    svm_stop(&t);
}

/* ---- Data ---- */

/* Any size and alignment; consecutive pages are not contiguous in memory */
static void test_write(void)
{
    const uint64_t addr = SVM_ADDR + 0xff3;
    const uint64_t size = 13 + 2 * KIB4 + 77;
    uint64_t gpa[4];
    SvmTest t;

    svm_start(&t);
    for (int i = 3; i >= 0; i--) {
        gpa[i] = svm_map(&t, SVM_ADDR + i * KIB4, SVM_FS);
    }
    g_assert_cmphex(svm_run_write(&t, addr, size), ==, SVM_DEMO_RESULT_OK);
    svm_check_untouched(&t, gpa[0], 0xff3);
    svm_check_pattern(&t, gpa[0] + 0xff3, 13, 0);
    svm_check_pattern(&t, gpa[1], KIB4, 13);
    svm_check_pattern(&t, gpa[2], KIB4, 13 + KIB4);
    svm_check_pattern(&t, gpa[3], 77, 13 + 2 * KIB4);
    svm_check_untouched(&t, gpa[3] + 77, KIB4 - 77);
    /* One byte */
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR + 77, 1), ==,
                    SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa[0] + 77, 1, 0);
    svm_stop(&t);
}

static void test_huge_page(void)
{
    const uint64_t addr = 0x40000000 + MIB2 - 300;
    uint64_t huge, small;
    SvmTest t;

    svm_start(&t);
    huge = QEMU_ALIGN_UP(guest_alloc(&t.alloc, 2 * MIB2), MIB2);
    qtest_memset(t.qts, huge, 0, MIB2);
    small = svm_new_page(&t);
    /* 4 KiB, 2 MiB, 4 KiB */
    qvtd_map_entry(&t.vtd, t.root, 4, addr & ~(KIB4 - 1), KIB4, small | SVM_FS,
                   SVM_FS);
    qvtd_map_entry(&t.vtd, t.root, 4, addr + 300, MIB2, huge | SVM_FS, SVM_FS);
    qvtd_map_entry(&t.vtd, t.root, 4, addr + 300 + MIB2, KIB4,
                   svm_new_page(&t) | SVM_FS, SVM_FS);
    g_assert_cmphex(svm_run_write(&t, addr, 300 + MIB2 + 5), ==,
                    SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, small + KIB4 - 300, 300, 0);
    svm_check_pattern(&t, huge, MIB2, 300);
    svm_stop(&t);
}

static void test_read(void)
{
    uint8_t buf[2 * KIB4];
    uint64_t gpa[2];
    uint8_t crc;
    SvmTest t;

    svm_start(&t);
    for (int i = 0; i < sizeof(buf); i++) {
        buf[i] = i * 7 + (i >> 5);
    }
    for (int i = 1; i >= 0; i--) {
        /* Read permission is enough */
        gpa[i] = svm_map(&t, SVM_ADDR + i * KIB4, VTD_FL_P | VTD_FL_US);
        qtest_memwrite(t.qts, gpa[i], buf + i * KIB4, KIB4);
    }
    crc = crc8(SVM_DEMO_CRC8_INIT, buf + 3, 5000);
    svm_write(&t, SVM_DEMO_REG_CRC, crc);
    g_assert_cmphex(svm_run(&t, SVM_DEMO_START_READ, SVM_ADDR + 3, 5000), ==,
                    SVM_DEMO_RESULT_OK);
    svm_write(&t, SVM_DEMO_REG_CRC, crc ^ 0x10);
    g_assert_cmphex(svm_run(&t, SVM_DEMO_START_READ, SVM_ADDR + 3, 5000), ==,
                    SVM_DEMO_RESULT_ERROR);
    /* The CRC covers all bits of the register */
    svm_write(&t, SVM_DEMO_REG_CRC, crc | 0x100);
    g_assert_cmphex(svm_run(&t, SVM_DEMO_START_READ, SVM_ADDR + 3, 5000), ==,
                    SVM_DEMO_RESULT_ERROR);
    /* A known CRC: that of 0x00 */
    qtest_memset(t.qts, gpa[0], 0, 1);
    svm_write(&t, SVM_DEMO_REG_CRC,
              crc8(SVM_DEMO_CRC8_INIT, (const uint8_t *)"", 1));
    g_assert_cmphex(svm_run(&t, SVM_DEMO_START_READ, SVM_ADDR, 1), ==,
                    SVM_DEMO_RESULT_OK);
    svm_stop(&t);
}

/* The result stays until the next operation ends */
static void test_result(void)
{
    SvmTest t;

    svm_start(&t);
    svm_map(&t, SVM_ADDR, SVM_FS);
    g_assert_cmphex(svm_result(&t), ==, SVM_DEMO_RESULT_OK);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 0), ==, SVM_DEMO_RESULT_ERROR);
    svm_write(&t, SVM_DEMO_REG_START, 0);
    svm_write(&t, SVM_DEMO_REG_START, 3);
    g_assert_cmphex(svm_result(&t), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 1), ==, SVM_DEMO_RESULT_OK);
    svm_stop(&t);
}

static void test_invalid_range(void)
{
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, 0xfffffffffffff000ULL, SVM_FS);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 0), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(svm_run_write(&t, UINT64_MAX - 15, 17), ==,
                    SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(svm_run_write(&t, 2, UINT64_MAX), ==,
                    SVM_DEMO_RESULT_ERROR);
    svm_check_untouched(&t, gpa, KIB4);
    /* The range may end at the last byte */
    g_assert_cmphex(svm_run_write(&t, UINT64_MAX - 15, 16), ==,
                    SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa + KIB4 - 16, 16, 0);
    svm_check_alive(&t);
    svm_stop(&t);
}

/* 7.8.8.3: the PASID must be enabled, and has 20 bits */
static void test_pasid(void)
{
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_PASID + (1u << 21));
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    svm_write(&t, SVM_DEMO_REG_PASID, UINT32_MAX);
    g_assert_cmphex(svm_run_write(&t, SVM_MSI_IOVA + 64, 16), ==,
                    SVM_DEMO_RESULT_ERROR);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_PASID);
    svm_conf_writew(&t, t.pasid + PCI_PASID_CTRL, 0);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    svm_check_untouched(&t, gpa, 16);
    /* Without PASID, the tables of the function are used */
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    g_assert_cmphex(svm_run_write(&t, SVM_MSI_IOVA + 64, 16), ==,
                    SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, t.msi + 64, 16, 0);
    svm_stop(&t);
}

static void test_privileged(void)
{
    uint64_t gpa;
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, SVM_ADDR, VTD_FL_P | VTD_FL_RW);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, 16);
    svm_expect_request(&t, SVM_ADDR, true, &rq);
    g_assert_false(rq.priv);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_INVALID);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    svm_check_untouched(&t, gpa, 16);

    svm_write(&t, SVM_DEMO_REG_OPTIONS, SVM_DEMO_OPTION_PRIV);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 16, 0);
    /* 7.8.8.3: Privileged Mode Enable */
    svm_conf_writew(&t, t.ats + PCI_ATS_CTRL, 0);
    svm_conf_writew(&t, t.pasid + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
    svm_conf_writew(&t, t.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    svm_stop(&t);
}

/* 10.5.1.3: without ATS, the device cannot access memory */
static void test_ats_disabled(void)
{
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    svm_conf_writew(&t, t.ats + PCI_ATS_CTRL, 0);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    svm_check_untouched(&t, gpa, 16);
    svm_conf_writew(&t, t.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    svm_stop(&t);
}

/* Only RAM: neither the device's own registers, nor the interrupt range */
static void test_mmio_address(void)
{
    SvmTest t;

    svm_start(&t);
    qvtd_map_entry(&t.vtd, t.root, 4, SVM_ADDR, KIB4, SVM_REGS | SVM_FS,
                   SVM_FS);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 64), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(svm_read(&t, SVM_DEMO_REG_START), ==, SVM_DEMO_ID);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    g_assert_cmphex(svm_run_write(&t, 0xfee00000, 4), ==,
                    SVM_DEMO_RESULT_ERROR);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_PASID);
    svm_check_alive(&t);
    svm_stop(&t);
}

/* ---- Short operations ---- */

/* A present page: the operation ends while the register is written */
static void test_inline(void)
{
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, KIB4);
    g_assert_true(svm_msi_arrived(&t, 0));
    g_assert_cmphex(svm_result(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, KIB4, 0);
    svm_stop(&t);
}

/* A missing page: the operation ends while the response is processed */
static void test_inline_with_page_request(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, 64);
    g_assert_true(svm_has_requests(&t, 1));
    qvtd_prq_next(&t.prq, &rq);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_true(svm_msi_arrived(&t, 0));
    g_assert_cmphex(svm_result(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, 0);
    svm_stop(&t);
}

/* The interrupt is remapped (VT-d 5.1) while the queue is processed */
static void test_inline_remapped(void)
{
    uint8_t msi;
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    /* No entry of the table is present, so that a fault is recorded */
    qvtd_writeq(t.qts, DMAR_IRTA_REG, svm_new_page(&t));
    qvtd_writel(t.qts, DMAR_GCMD_REG,
                VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_SIRTP);
    qvtd_writel(t.qts, DMAR_GCMD_REG,
                VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_IRE);
    msi = qecam_cap(t.qts, t.bdf, PCI_CAP_ID_MSI);
    qecam_writel(t.qts, t.bdf, msi + PCI_MSI_ADDRESS_LO,
                 VTD_INTERRUPT_ADDR_FIRST | 1 << 4);
    svm_conf_writew(&t, msi + PCI_MSI_DATA_64, 0);

    svm_begin_and_fault(&t, &rq);
    svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_result(&t), ==, SVM_DEMO_RESULT_OK);
    g_assert_cmphex(qvtd_readq(t.qts, DMAR_FRCD_REG_0_2), ==,
                    VTD_FRCD_F | VTD_FRCD_FR(VTD_FR_IR_ENTRY_P) |
                    VTD_FRCD_SID(SVM_DEV));
    svm_stop(&t);
}

/* ---- Misbehaviour ---- */

/* An operation ends without MSI, which is not sent later, either */
static void test_no_msi(void)
{
    uint8_t msi;
    SvmTest t;

    svm_start(&t);
    msi = qecam_cap(t.qts, t.bdf, PCI_CAP_ID_MSI);
    svm_conf_writew(&t, msi + PCI_MSI_FLAGS, 0);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, 0);
    svm_wait_until(&t, svm_has_failed, 0);
    svm_conf_writew(&t, msi + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
    svm_check_no_msi(&t);
    svm_check_alive(&t);
    svm_stop(&t);
}

/* Only 1 and 2 start an operation */
static void test_invalid_command(void)
{
    SvmTest t;

    svm_start(&t);
    svm_write(&t, SVM_DEMO_REG_SIZE, 0);
    svm_write(&t, SVM_DEMO_REG_START, 0);
    svm_write(&t, SVM_DEMO_REG_START, SVM_DEMO_START_READ + 1);
    svm_check_no_msi(&t);
    g_assert_cmphex(svm_result(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_alive(&t);
    svm_stop(&t);
}

/* ---- Invalidation ---- */

/* 10.3: the device does not use invalidated translations */
static void test_invalidation(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 16, 0);
    qtest_memset(t.qts, gpa, 0, KIB4);
    svm_unmap(&t, SVM_ADDR);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, 16);
    svm_expect_request(&t, SVM_ADDR, true, &rq);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_INVALID);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    svm_check_untouched(&t, gpa, 16);
    svm_stop(&t);
}

/* ---- Effects of fault injection ---- */

/* device_add fails with the message @why, and leaves no device behind */
static void check_no_device(QTestState *qts, const char *args, const char *why)
{
    g_autofree char *json = g_strdup_printf(
        "{ 'execute': 'device_add', 'arguments': { 'driver': 'svm', "
        "'id': 'svm0', %s } }", args);
    QDict *error = qtest_qmp_assert_failure_ref(qts, json, NULL);

    g_assert_cmpstr(qdict_get_str(error, "desc"), ==, why);
    qobject_unref(error);
}

static void test_realize(void)
{
    QTestState *qts = qtest_init("-M q35 -nodefaults "
                                 "-device pcie-pci-bridge,id=br "
                                 "-device pcie-root-port,id=rp,chassis=1");

    check_no_device(qts, "'bus': 'br', 'addr': '1'",
                    "svm needs a PCI Express bus");
    check_no_device(qts, "'bus': 'rp', 'x-flood': 1",
                    "x-flood: the device is not realized yet");
    qtest_qmp_device_add(qts, "svm", "svm0", "{ 'bus': 'rp' }");
    qtest_quit(qts);
}

/* ---- Migration ---- */

/* A device that is plugged while the machine is suspended works afterwards */
static void test_plug_while_suspended(void)
{
    uint64_t gpa;
    SvmTest t;

    t = (SvmTest) { .bdf = SVM_BEHIND_PORT };
    t.qts = qtest_initf("-M q35 -nodefaults -device intel-iommu,svm=on "
                        "-device pcie-root-port,id=rp,addr=4,chassis=1");
    qecam_enable(t.qts);
    qecam_plug_while_suspended(t.qts, "svm", "svm0");
    svm_boot(&t, 32);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 64), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, 0);
    svm_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/svm/config", test_config);
    qtest_add_func("/svm/access-width", test_access_width);
    qtest_add_func("/svm/write", test_write);
    qtest_add_func("/svm/huge-page", test_huge_page);
    qtest_add_func("/svm/read", test_read);
    qtest_add_func("/svm/result", test_result);
    qtest_add_func("/svm/invalid-range", test_invalid_range);
    qtest_add_func("/svm/no-msi", test_no_msi);
    qtest_add_func("/svm/invalid-command", test_invalid_command);
    qtest_add_func("/svm/pasid", test_pasid);
    qtest_add_func("/svm/privileged", test_privileged);
    qtest_add_func("/svm/ats-disabled", test_ats_disabled);
    qtest_add_func("/svm/mmio-address", test_mmio_address);
    qtest_add_func("/svm/inline", test_inline);
    qtest_add_func("/svm/inline/page-request",
                   test_inline_with_page_request);
    qtest_add_func("/svm/inline/remapped", test_inline_remapped);
    qtest_add_func("/svm/invalidation", test_invalidation);
    qtest_add_func("/svm/realize", test_realize);
    qtest_add_func("/svm/plug-while-suspended", test_plug_while_suspended);
    return g_test_run();
}
