/*
 * libqos driver for pci-ats-testdev, and for PCIe topologies on q35
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBQOS_PCI_ATS_TESTDEV_H
#define LIBQOS_PCI_ATS_TESTDEV_H

#include "../libqtest.h"
#include "hw/misc/pci-ats-testdev.h"

#define QATD_NO_PASID UINT32_MAX

/**
 * struct QATD - the driver of a pci-ats-testdev
 * @qts: the emulator; a test may set it to the destination of a migration
 * @bdf: bus, device and function number
 * @regs: guest physical address of BAR 0
 * @data: guest physical address of BAR 2
 * @ats: offset of the ATS capability, 0 if there is none
 * @pasid: offset of the PASID capability, 0 if there is none
 * @pri: offset of the PRI capability, 0 if there is none
 */
typedef struct QATD {
    QTestState *qts;
    uint16_t bdf;
    uint64_t regs;
    uint64_t data;
    uint16_t ats;
    uint16_t pasid;
    uint16_t pri;
} QATD;

#define QATD_BDF(bus, slot, fn) ((bus) << 8 | (slot) << 3 | (fn))

/**
 * qecam_enable() - enable and map extended configuration space of a q35 machine
 * @qts: the emulator
 */
void qecam_enable(QTestState *qts);

/**
 * qecam_address() - get the guest physical address of a register
 * @bdf: bus, device and function number
 * @reg: offset, 0 to 0xfff
 *
 * Returns: where qecam_enable() maps the register
 */
uint64_t qecam_address(uint16_t bdf, uint16_t reg);

/*
 * qecam_read*(), qecam_write*() - access configuration space
 * @qts: the emulator, after qecam_enable()
 * @bdf: bus, device and function number
 * @reg: offset, 0 to 0xfff
 */
uint8_t qecam_readb(QTestState *qts, uint16_t bdf, uint16_t reg);
uint16_t qecam_readw(QTestState *qts, uint16_t bdf, uint16_t reg);
uint32_t qecam_readl(QTestState *qts, uint16_t bdf, uint16_t reg);
void qecam_writeb(QTestState *qts, uint16_t bdf, uint16_t reg, uint8_t val);
void qecam_writew(QTestState *qts, uint16_t bdf, uint16_t reg, uint16_t val);
void qecam_writel(QTestState *qts, uint16_t bdf, uint16_t reg, uint32_t val);

/**
 * qecam_cap() - find a capability; the test fails if it is missing
 * @qts: the emulator
 * @bdf: bus, device and function number
 * @id: PCI_CAP_ID_*
 *
 * Returns: the offset of the capability.
 */
uint8_t qecam_cap(QTestState *qts, uint16_t bdf, uint8_t id);

/**
 * qecam_ext_cap() - find an extended capability
 * @qts: the emulator
 * @bdf: bus, device and function number
 * @id: PCI_EXT_CAP_ID_*
 *
 * Returns: the offset of the capability, 0 if it is missing.
 */
uint16_t qecam_ext_cap(QTestState *qts, uint16_t bdf, uint16_t id);

/**
 * qecam_enable_ats() - enable the PASID, PRI and ATS capabilities of a function
 * @qts: the emulator
 * @bdf: bus, device and function number
 * @pasid_ctrl: further bits of the PASID Control register, PCI_PASID_CTRL_*
 * @pri_alloc: Outstanding Page Request Allocation
 *
 * The test fails if one of them is missing.
 */
void qecam_enable_ats(QTestState *qts, uint16_t bdf, uint16_t pasid_ctrl,
                      uint32_t pri_alloc);

/**
 * qecam_enable_msi() - enable the MSI of a function
 * @qts: the emulator
 * @bdf: bus, device and function number; the capability has 64-bit addresses
 * @addr: guest physical address, or I/O virtual address, of the message
 * @data: the message
 */
void qecam_enable_msi(QTestState *qts, uint16_t bdf, uint64_t addr,
                      uint16_t data);

/**
 * qecam_suspend() - suspend a q35 machine (ACPI S3), as a guest does
 * @qts: the emulator
 */
void qecam_suspend(QTestState *qts);

/**
 * qecam_plug_while_suspended() - plug a device while a q35 machine is suspended
 * @qts: the emulator, after qecam_enable()
 * @driver: type of the device
 * @id: id of the device
 *
 * The machine needs a root port with the id "rp", and runs afterwards.
 */
void qecam_plug_while_suspended(QTestState *qts, const char *driver,
                                const char *id);

/**
 * qecam_unplug() - unplug a device by resetting the machine
 * @qts: the emulator, without a guest that handles the unplug request
 * @id: id of the device
 *
 * Returns when the device has been deleted.
 */
void qecam_unplug(QTestState *qts, const char *id);

/**
 * qecam_setup_bridge() - set the bus numbers and the memory window of a bridge
 * @qts: the emulator
 * @bdf: bus, device and function number of the bridge
 * @secondary: number of the bus behind the bridge
 * @subordinate: highest number of a bus behind the bridge
 */
void qecam_setup_bridge(QTestState *qts, uint16_t bdf, uint8_t secondary,
                        uint8_t subordinate);

/**
 * qatd_init() - map the BARs of a device and enable bus mastering
 * @d: the driver to fill in
 * @qts: the emulator, after qecam_enable()
 * @bdf: bus, device and function number
 * @index: 0 to 255, unique for each device of the machine
 */
void qatd_init(QATD *d, QTestState *qts, uint16_t bdf, unsigned index);

/**
 * qatd_enable_all() - enable the ATS, PRI and PASID capabilities of the device
 * @d: the driver
 * @pri_alloc: Outstanding Page Request Allocation
 */
void qatd_enable_all(QATD *d, uint32_t pri_alloc);

/* Access a register, ATD_* */
uint64_t qatd_read(QATD *d, unsigned reg);
void qatd_write(QATD *d, unsigned reg, uint64_t val);

/**
 * qatd_command() - run a command and wait for its end
 * @d: the driver
 * @command: ATD_CMD_*
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: address
 * @length: length
 * @flags: ATD_FLAG_*
 *
 * Returns: the result of the command.  The test fails after ten seconds.
 */
int64_t qatd_command(QATD *d, unsigned command, uint32_t pasid, uint64_t addr,
                     uint64_t length, uint64_t flags);

/**
 * qatd_start() - start a command, with the arguments of qatd_command()
 */
void qatd_start(QATD *d, unsigned command, uint32_t pasid, uint64_t addr,
                uint64_t length, uint64_t flags);

/**
 * qatd_wait() - wait for the end of the command
 * @d: the driver
 *
 * Returns: the result of the command.  The test fails after ten seconds.
 */
int64_t qatd_wait(QATD *d);

/**
 * struct QATDResult - one result of ATD_CMD_TRANSLATE
 */
typedef struct QATDResult {
    uint64_t iova;
    uint64_t translated_addr;
    uint64_t addr_mask;
    uint32_t perm;
    uint32_t pasid;
} QATDResult;

/**
 * qatd_translate() - run ATD_CMD_TRANSLATE
 * @d: the driver
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: first address
 * @length: in bytes
 * @flags: ATD_FLAG_*
 * @results: filled in
 * @max_results: elements in @results
 *
 * Returns: the result of pci_ats_request_translation().
 */
int64_t qatd_translate(QATD *d, uint32_t pasid, uint64_t addr, uint64_t length,
                       uint64_t flags, QATDResult *results, size_t max_results);

/**
 * qatd_page_request() - run ATD_CMD_PAGE_REQUEST
 * @d: the driver
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: address
 * @prgi: page request group index
 * @flags: ATD_FLAG_*
 *
 * Returns: the result of pci_pri_request_page().
 */
int64_t qatd_page_request(QATD *d, uint32_t pasid, uint64_t addr,
                          uint16_t prgi, uint64_t flags);

/**
 * qatd_temporary_file() - create an empty file
 *
 * Returns: its path; unlink the file, and free the path with g_free().
 */
char *qatd_temporary_file(void);

/**
 * qatd_save_machine() - migrate a machine into a file and quit the emulator
 * @qts: the emulator, which is invalid afterwards
 *
 * Returns: the path of the file, for qatd_load_machine(); free it with
 * g_free().
 */
char *qatd_save_machine(QTestState *qts);

/**
 * qatd_load_machine() - load a machine that was saved, and let it run
 * @qts: an emulator started with the same devices and -incoming defer
 * @path: path of the file, which is deleted
 */
void qatd_load_machine(QTestState *qts, const char *path);

/**
 * qatd_try_load_machine() - load a machine, which may fail
 * @qts: an emulator started with -incoming defer
 * @path: path of the file, which is not deleted
 *
 * Returns: "completed" or "failed"; free it with g_free().
 */
char *qatd_try_load_machine(QTestState *qts, const char *path);

/**
 * qatd_expect_load() - load a stream that a test has changed
 * @args: arguments of the emulator, with -incoming defer
 * @path: path of a file, which is overwritten and not deleted
 * @stream: the stream
 * @len: length of @stream, in bytes
 * @expected: "completed" or "failed"
 */
void qatd_expect_load(const char *args, const char *path, const char *stream,
                      size_t len, const char *expected);

/**
 * qatd_add_snapshot_disk() - add a disk for qatd_snapshot() to a machine
 * @qts: the emulator
 * @path: path of an empty file, which the caller deletes
 */
void qatd_add_snapshot_disk(QTestState *qts, const char *path);

/**
 * qatd_attach_snapshot_disk() - add the same disk to another machine
 * @qts: the emulator
 * @path: path of the file, after qatd_add_snapshot_disk()
 */
void qatd_attach_snapshot_disk(QTestState *qts, const char *path);

/**
 * qatd_snapshot() - save or load a snapshot of the machine
 * @qts: the emulator, after qatd_add_snapshot_disk()
 * @command: "snapshot-save" or "snapshot-load"
 */
void qatd_snapshot(QTestState *qts, const char *command);

/**
 * qatd_try_snapshot() - save or load a snapshot, which may fail
 * @qts: the emulator, after qatd_add_snapshot_disk()
 * @command: "snapshot-save" or "snapshot-load"
 *
 * Returns: false on failure; the machine is stopped then.
 */
bool qatd_try_snapshot(QTestState *qts, const char *command);

#endif
