/*
 * Unplug a device while another processor accesses its registers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Runs without an operating system on a q35 machine with two processors and a
 * pcie-root-port at 2.0, into which the host repeatedly plugs svm, dsa or
 * pci-ats-testdev.  The second processor continuously reads and writes
 * registers of the device.  The first processor ejects the device soon after
 * that has begun, through the ACPI hot-plug registers.  For each cycle a line
 * names the device and tells how often the second processor found it.
 *
 * If there is an Intel IOMMU, it maps all addresses one to one, and the device
 * uses ATS every other time.
 *
 * Linked with the startup code and the library of tests/tcg.
 */

#include <stdbool.h>
#include <stdint.h>
#include <minilib.h>
#include "hw/misc/pci-ats-testdev.h"
#include "hw/misc/svm-demo.h"

#define PORT_SLOT       2

/* Address of the device; the window of the port begins there */
#define REGS            0xd0000000ul
#define REGS2           0xd0800000ul
#define WINDOW          0xd0f0d000u

/* Buffer of the device: 1 MiB that is not used otherwise */
#define BUFFER          0x2000000ul
#define BUFFER_SIZE     0x100000u

/* Extended configuration space of the device, as set up by SeaBIOS */
#define ECAM            0xb0100000ul

/* The IOMMU, and pages for its tables (VT-d 9.1, 9.3, 9.8, 11.4) */
#define IOMMU           0xfed90000ul
#define IOMMU_GCMD      0x18
#define IOMMU_GSTS      0x1c
#define IOMMU_RTADDR    0x20
#define IOMMU_TE        (1u << 31)
#define IOMMU_SRTP      (1u << 30)
#define IOMMU_TABLES    0x3000000ul

/* ACPI hot-plug of q35 (docs/specs/acpi_pci_hotplug.rst) */
#define ACPI_EJECT      0xcc8
#define ACPI_BUS        0xcd0

#define APIC_ICR        0xfee00300ul
#define APIC_INIT       0xc4500u
#define APIC_STARTUP    0xc4600u
/* Page number of the startup code of the second processor */
#define TRAMPOLINE      7

/* Vendor and device id */
#define ID_SVM          (SVM_DEMO_DEVICE_ID << 16 | 0x1234)
#define ID_TESTDEV      (ATD_DEVICE_ID << 16 | 0x1234)
#define ID_DSA          0x0b258086u

/* Registers of DSA that the test uses */
#define DSA_VERSION     0x00
#define DSA_CMD         0xa0
#define DSA_CMDSTATUS   0xa8
#define DSA_MSIX        0x8000
#define DSA_MSIX_END    0x8090
#define DSA_PBA         0xc000
#define DSA_GROUP       0x1000
#define DSA_WQ          0x2000

/* Shared by the processors, accessed atomically */
static uint32_t device;         /* its id; 0: no device */
static uint32_t found;          /* number of times that the device was found */

/* ---- Both processors ---- */

static void write64(uint64_t addr, uint64_t val)
{
    asm volatile("movq %1, (%0)" : : "r"(addr), "r"(val) : "memory");
}

static uint64_t read64(uint64_t addr)
{
    uint64_t val;

    asm volatile("movq (%1), %0" : "=r"(val) : "r"(addr) : "memory");
    return val;
}

static void write32(uint64_t addr, uint32_t val)
{
    asm volatile("movl %1, (%0)" : : "r"(addr), "r"(val) : "memory");
}

static uint32_t read32(uint64_t addr)
{
    uint32_t val;

    asm volatile("movl (%1), %0" : "=r"(val) : "r"(addr) : "memory");
    return val;
}

/*
 * QEMU frees an unplugged device after each processor has paused, or has taken
 * an interrupt.
 */
static void pause(void)
{
    asm volatile("pause");
}

static void outl(uint16_t port, uint32_t val)
{
    asm volatile("out %0, %1" : : "a"(val), "Nd"(port));
}

static uint32_t inl(uint16_t port)
{
    uint32_t val;

    asm volatile("in %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* ---- The second processor: accesses to registers ---- */

/*
 * Operations of svm: mostly short ones, which end immediately, and long ones
 * in the worker thread, which are cancelled
 */
static bool access_svm(uint32_t r)
{
    write64(REGS + SVM_DEMO_REG_ADDR, BUFFER);
    write64(REGS + SVM_DEMO_REG_SIZE, r & 7 ? 64 : 0x40000);
    for (int i = 0; i < 8; i++) {
        write64(REGS + SVM_DEMO_REG_START,
                r & 8 ? SVM_DEMO_START_READ : SVM_DEMO_START_WRITE);
        write32(REGS + SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    }
    return read64(REGS + SVM_DEMO_REG_START) == SVM_DEMO_ID;
}

/* Synchronous, threaded and asynchronous commands, some of them repeated */
static bool access_testdev(uint32_t r)
{
    static const uint32_t flags[] = { 0, ATD_FLAG_THREAD, ATD_FLAG_ASYNC };
    static const uint32_t commands[] = {
        ATD_CMD_SVM_READ, ATD_CMD_SVM_WRITE, ATD_CMD_DMA_READ,
        ATD_CMD_DMA_WRITE,
    };

    write64(REGS + ATD_PASID, 0xffffffff);
    write64(REGS + ATD_ADDR, BUFFER);
    write64(REGS + ATD_LENGTH, r >> 8 & 0xffff);
    write64(REGS + ATD_FLAGS, flags[r % 3]);
    write64(REGS + ATD_REPEAT, r & 8 ? 1000000 : 1);
    for (int i = 0; i < 4; i++) {
        write64(REGS + ATD_COMMAND, commands[r >> 4 & 3]);
        read64(REGS + ATD_ATC_ENTRIES);
        read64(REGS + ATD_RETURN);
    }
    write64(REGS2 + (r & 0xfff8), r);
    return read64(REGS + ATD_ID) == ATD_ID_VALUE;
}

/* A direct store of 64 bytes */
static void direct_store(uint64_t addr, const void *data)
{
    asm volatile("movdir64b (%0), %1" : : "r"(data), "r"(addr) : "memory");
}

/* Submit a descriptor that copies within the buffer, some with an interrupt */
static void dsa_submit(uint32_t r)
{
    static uint64_t desc[8] __attribute__((aligned(64)));

    desc[0] = (uint64_t)(r & 1 ? 0x0c : 0x1c) << 32 | 0x03ull << 56;
    desc[1] = BUFFER + 0x10000;
    desc[2] = BUFFER + 0x40000;
    desc[3] = BUFFER + 0x80000;
    desc[4] = r >> 8 & 0x3ffff;
    direct_store(REGS2, desc);
}

static bool access_dsa(uint32_t r)
{
    uint64_t entry = REGS + DSA_MSIX + (r >> 4) % 9 * 16;

    dsa_submit(r);
    switch (r & 7) {
    case 0:
        /* Drain All, or Abort All, with an interrupt */
        write32(REGS + DSA_CMD, 1u << 31 | (r & 0x100 ? 3 : 4) << 20);
        break;
    case 1:
        /* Mask or unmask a vector in Vector Control */
        write32(entry + 12, r >> 8 & 1);
        break;
    case 2:
        read32(entry);
        read64(REGS + DSA_PBA);
        break;
    default:
        read64(REGS + (r >> 8 & 0x3ff8));
        read32(REGS + DSA_CMDSTATUS);
        break;
    }
    return read32(REGS + DSA_VERSION) == 0x100;
}

static bool access_device(uint32_t r)
{
    switch (__atomic_load_n(&device, __ATOMIC_SEQ_CST)) {
    case ID_SVM:
        return access_svm(r);
    case ID_TESTDEV:
        return access_testdev(r);
    case ID_DSA:
        return access_dsa(r);
    default:
        return false;
    }
}

static void __attribute__((used)) second_processor(void)
{
    uint32_t random = 1;

    for (;;) {
        if (access_device(next_random(&random))) {
            __atomic_fetch_add(&found, 1, __ATOMIC_SEQ_CST);
        }
        /* A register that the other processor uses to eject the device */
        inl(ACPI_BUS);
        pause();
    }
}

/* ---- The first processor: starting the second ---- */

/* Switch from real to long mode, with the page tables of the first processor */
asm(".pushsection .text\n"
    ".code16\n"
    "trampoline:\n"
    "    cli\n"
    "    xor %ax, %ax\n"
    "    mov %ax, %ds\n"
    "    lgdtl 0x7000 + trampoline_gdtr - trampoline\n"
    "    mov $0x20, %eax\n"             /* PAE */
    "    mov %eax, %cr4\n"
    "    mov 0x7000 + trampoline_cr3 - trampoline, %eax\n"
    "    mov %eax, %cr3\n"
    "    mov $0xc0000080, %ecx\n"       /* EFER.LME */
    "    rdmsr\n"
    "    or $0x100, %eax\n"
    "    wrmsr\n"
    "    mov $0x80000001, %eax\n"       /* PG, PE */
    "    mov %eax, %cr0\n"
    "    ljmpl $8, $second_start\n"
    ".balign 8\n"
    "trampoline_gdt:\n"
    "    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff\n"
    "trampoline_gdtr:\n"
    "    .word 23\n"
    "    .long 0x7000 + trampoline_gdt - trampoline\n"
    ".balign 4\n"
    "trampoline_cr3:\n"
    "    .long 0\n"
    "trampoline_end:\n"
    ".code64\n"
    "second_start:\n"
    "    mov $16, %eax\n"
    "    mov %eax, %ds\n"
    "    mov %eax, %es\n"
    "    mov %eax, %ss\n"
    "    mov $second_stack_end, %rsp\n"
    "    call second_processor\n"
    ".popsection\n"
    ".pushsection .bss\n"
    ".balign 16\n"
    "    .space 16384\n"
    "second_stack_end:\n"
    ".popsection\n");

static uint64_t page_table_root(void)
{
    uint64_t cr3;

    asm volatile("mov %%cr3, %0" : "=r"(cr3));
    return cr3;
}

/* The startup code maps 2 GiB, and has page tables for 4 GiB */
static void map_registers(void)
{
    uint64_t *pml4 = (uint64_t *)page_table_root();
    uint64_t *pdp = (uint64_t *)(pml4[0] & ~0xffful);

    pdp[2] = pdp[0] + 2 * 4096;
    pdp[3] = pdp[0] + 3 * 4096;
    asm volatile("mov %0, %%cr3" : : "r"(pml4) : "memory");
}

static void start_second_processor(void)
{
    uint64_t code = TRAMPOLINE * 4096ul;
    uint64_t first, cr3, end;

    asm("lea trampoline(%%rip), %0\n\t"
        "lea trampoline_cr3(%%rip), %1\n\t"
        "lea trampoline_end(%%rip), %2" : "=&r"(first), "=&r"(cr3), "=r"(end));
    for (uint64_t p = first; p < end; p += 4) {
        write32(code + (p - first), read32(p));
    }
    write32(code + (cr3 - first), page_table_root());
    write32(APIC_ICR, APIC_INIT);
    write32(APIC_ICR, APIC_STARTUP | TRAMPOLINE);
}

/* ---- The first processor: plugging and unplugging ---- */

static void conf_select(int bus, int slot, int reg)
{
    outl(0xcf8, 1u << 31 | bus << 16 | slot << 11 | reg);
}

static uint32_t conf_read(int bus, int slot, int reg)
{
    conf_select(bus, slot, reg);
    return inl(0xcfc);
}

static void conf_write(int bus, int slot, int reg, uint32_t val)
{
    conf_select(bus, slot, reg);
    outl(0xcfc, val);
}

/* Set up bus 1, a memory window, and bus mastering */
static void setup_port(void)
{
    conf_write(0, PORT_SLOT, 0x18, 0x010100);
    conf_write(0, PORT_SLOT, 0x20, (WINDOW & 0xfff00000) | REGS >> 16);
    conf_write(0, PORT_SLOT, 0x04, 6);
}

/* Returns the offset of a capability, which must exist */
static int find_capability(uint8_t id)
{
    int pos = conf_read(1, 0, 0x34) & 0xff;

    while ((conf_read(1, 0, pos) & 0xff) != id) {
        pos = conf_read(1, 0, pos) >> 8 & 0xff;
    }
    return pos;
}

/* Direct interrupts to the buffer */
static void setup_msi(void)
{
    int pos = find_capability(0x05);

    conf_write(1, 0, pos + 4, BUFFER);
    conf_write(1, 0, pos + 8, 0);
    conf_write(1, 0, pos, 1 << 16);
}

static void setup_dsa(void)
{
    conf_write(1, 0, find_capability(0x11), 1u << 31);
    for (int i = 0; i < 9; i++) {
        write64(REGS + DSA_MSIX + i * 16, BUFFER);
        write64(REGS + DSA_MSIX + i * 16 + 8, 0);
    }
    /* WQ 0 is dedicated, with 16 entries; engine 0 in group 0 processes it */
    write64(REGS + DSA_WQ, 16);
    write64(REGS + DSA_WQ + 8, 1 | 1 << 4 | 31ull << 32 | 10ull << 37);
    write64(REGS + DSA_GROUP, 1);
    write64(REGS + DSA_GROUP + 32, 1);
    write32(REGS + DSA_CMD, 1 << 20);
    write32(REGS + DSA_CMD, 6 << 20);
}

/* ---- The first processor: the IOMMU ---- */

static bool has_iommu(void)
{
    uint32_t version = read32(IOMMU);

    return version && version != 0xffffffff;
}

static void iommu_command(uint32_t command, uint32_t bit)
{
    write32(IOMMU + IOMMU_GCMD, command);
    while (!(read32(IOMMU + IOMMU_GSTS) & bit)) {
        pause();
    }
}

/* Legacy mode; the first 4 GiB are mapped one to one, with pages of 1 GiB */
static void setup_iommu(void)
{
    uint64_t root = IOMMU_TABLES, context = root + 4096, top = root + 8192,
             directory = root + 12288;

    for (uint64_t p = root; p < root + 16384; p += 8) {
        write64(p, 0);
    }
    /* Function 1:0.0: present, with device-TLB, 4 levels */
    write64(root + 16, context | 1);
    write64(context, top | 1 << 2 | 1);
    write64(context + 8, 1 << 8 | 2);
    write64(top, directory | 3);
    for (int i = 0; i < 4; i++) {
        write64(directory + i * 8, (uint64_t)i << 30 | 1 << 7 | 3);
    }
    write64(IOMMU + IOMMU_RTADDR, root);
    iommu_command(IOMMU_SRTP, IOMMU_SRTP);
    iommu_command(IOMMU_TE, IOMMU_TE);
}

static void enable_ats(void)
{
    uint64_t cap = ECAM + 0x100;

    while ((read32(cap) & 0xffff) != 0x0f) {
        cap = ECAM + (read32(cap) >> 20);
    }
    /* ATS Control is the upper half of the register */
    write32(cap + 4, 1u << 31);
}

/* ---- The first processor: the device ---- */

static void setup_device(uint32_t id, bool ats)
{
    conf_write(1, 0, 0x10, REGS);
    if (id != ID_SVM) {
        conf_write(1, 0, 0x14, 0);
        conf_write(1, 0, 0x18, REGS2);
        conf_write(1, 0, 0x1c, 0);
    }
    conf_write(1, 0, 0x04, 6);
    if (ats) {
        enable_ats();
    }
    if (id == ID_DSA) {
        setup_dsa();
    } else if (id == ID_SVM) {
        setup_msi();
    }
}

static const char *device_name(uint32_t id)
{
    return id == ID_SVM ? "svm" : id == ID_DSA ? "dsa" : "pci-ats-testdev";
}

int main(void)
{
    uint32_t random = 2, id, times;

    bool iommu;

    map_registers();
    setup_port();
    iommu = has_iommu();
    if (iommu) {
        setup_iommu();
    }
    start_second_processor();
    for (;;) {
        while ((id = conf_read(1, 0, 0)) == 0xffffffff) {
            pause();
        }
        __atomic_store_n(&found, 0, __ATOMIC_SEQ_CST);
        setup_device(id, iommu && next_random(&random) & 1);
        __atomic_store_n(&device, id, __ATOMIC_SEQ_CST);
        times = next_random(&random) % 64 + 1;
        while (__atomic_load_n(&found, __ATOMIC_SEQ_CST) < times) {
            pause();
        }
        outl(ACPI_BUS, 0);
        outl(ACPI_EJECT, 1);
        ml_printf("%s %d\n", device_name(id),
                  __atomic_load_n(&found, __ATOMIC_SEQ_CST));
        __atomic_store_n(&device, 0, __ATOMIC_SEQ_CST);
    }
    return 0;
}
