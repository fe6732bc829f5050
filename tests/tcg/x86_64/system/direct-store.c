/*
 * MOVDIRI, MOVDIR64B, ENQCMD, ENQCMDS, and XSAVES with the PASID state
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Runs on a machine with one direct-store-testdev; prints the result of each
 * case in the format of TAP.  Where the processor has none of these
 * instructions the cases are that each of them raises #UD.
 *
 * Rules from the Intel SDM: volume 2 for the instructions, volume 1, chapter
 * 13 for XSAVE.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <minilib.h>
#include "hw/misc/direct-store-testdev.h"

#define DB 1
#define UD 6
#define NM 7
#define GP 13
#define PF 14

#define MSR_IA32_PASID  0xd93
#define MSR_IA32_XSS    0xda0
#define PASID_VALID     (1u << 31)

#define CR0_TS          (1u << 3)
#define CR0_WP          (1u << 16)
#define CR4_OSFXSR      (1u << 9)
#define CR4_OSXSAVE     (1u << 18)

#define EFLAGS_ZF       0x040
/* CF, PF, AF, ZF, SF, OF */
#define EFLAGS_ARITH    0x8d5

#define X87             0x001
#define SSE             0x002
#define AVX             0x004
#define PKRU            0x200
#define PASID           0x400
#define COMPACTED       (1ull << 63)
/* Header of an XSAVE area, and the first byte behind it */
#define XSTATE_BV       512
#define XCOMP_BV        520
#define EXTENDED        576

/* Mappings that the cases change */
#define READ_ONLY       0x2000000ul
#define NOT_PRESENT     0x2200000ul
/* 2 MiB of memory, and where the 2 MiB that follow are mapped to */
#define SPLIT           0x2400000ul
#define SPLIT_MEMORY    0x2a00000ul
#define SPLIT_DEVICE    0xf0000000ul    /* no device answers */
/* 2 MiB that map_last() also maps to the end of the address space */
#define LAST            0x3fe00000ul

/* Exceptions */

static int fault_vector;
static uint64_t fault_error;
/* Where to go on after an exception */
static uint64_t fault_resume;
/* Where run_user() goes back to */
static uint64_t kernel_rsp __attribute__((used));

/* What the processor pushes, behind an error code */
struct interrupt_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

static void handle(int vector, struct interrupt_frame *frame, uint64_t error)
{
    if (!fault_resume) {
        /* A mistake of this program */
        ml_printf("Bail out! exception %d at %lx\n", vector, frame->rip);
        asm volatile("out %0, $0xf4" : : "a"(1));
    }
    fault_vector = vector;
    fault_error = error;
    frame->rip = fault_resume;
    fault_resume = 0;
}

/* Data breakpoints are reported behind the instruction, which goes on */
static int breakpoints;

static void __attribute__((interrupt))
handle_db(struct interrupt_frame *frame)
{
    breakpoints++;
}

static void __attribute__((interrupt))
handle_ud(struct interrupt_frame *frame)
{
    handle(UD, frame, 0);
}

static void __attribute__((interrupt))
handle_nm(struct interrupt_frame *frame)
{
    handle(NM, frame, 0);
}

static void __attribute__((interrupt))
handle_gp(struct interrupt_frame *frame, unsigned long error)
{
    handle(GP, frame, error);
}

static void __attribute__((interrupt))
handle_pf(struct interrupt_frame *frame, unsigned long error)
{
    handle(PF, frame, error);
}

typedef struct IDTEntry {
    uint16_t offset0, selector;
    uint8_t ist, type;
    uint16_t offset1;
    uint32_t offset2, reserved;
} IDTEntry;

static IDTEntry idt[0x81] __attribute__((aligned(16)));

typedef struct __attribute__((packed)) TSS {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, iomap;
} TSS;

static TSS tss;
static uint8_t fault_stack[4096] __attribute__((aligned(16)));
static uint8_t kernel_stack[4096] __attribute__((aligned(16)));
static uint8_t user_stack[16384] __attribute__((aligned(16)));

#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_DS   0x1b
#define USER_CS   0x23
#define TSS_SEL   0x28

static uint64_t gdt[7] = {
    0,
    0x00af9b000000ffff,
    0x00cf93000000ffff,
    0x00cff3000000ffff,
    0x00affb000000ffff,
};

typedef struct __attribute__((packed)) TableRegister {
    uint16_t limit;
    uint64_t base;
} TableRegister;

static void set_gate(int vector, void *handler, int dpl, int ist)
{
    uint64_t offset = (uint64_t)handler;

    idt[vector] = (IDTEntry) {
        .offset0 = offset, .offset1 = offset >> 16, .offset2 = offset >> 32,
        .selector = KERNEL_CS, .ist = ist, .type = 0x8e | dpl << 5,
    };
}

static void setup_exceptions(void)
{
    TableRegister idtr = { sizeof(idt) - 1, (uint64_t)idt };
    TableRegister gdtr = { sizeof(gdt) - 1, (uint64_t)gdt };
    uint64_t base = (uint64_t)&tss;
    void *from_user;

    asm("lea from_user(%%rip), %0" : "=r"(from_user));
    gdt[5] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
             (base >> 24 & 0xff) << 56;
    gdt[6] = base >> 32;
    tss.rsp[0] = (uint64_t)kernel_stack + sizeof(kernel_stack);
    tss.ist[0] = (uint64_t)fault_stack + sizeof(fault_stack);
    tss.iomap = sizeof(tss);

    set_gate(DB, handle_db, 0, 1);
    set_gate(UD, handle_ud, 0, 1);
    set_gate(NM, handle_nm, 0, 1);
    set_gate(GP, handle_gp, 0, 1);
    set_gate(PF, handle_pf, 0, 1);
    set_gate(0x80, from_user, 3, 0);

    asm volatile("lgdt %0\n\t"
                 "lidt %1\n\t"
                 "mov %w2, %%ds; mov %w2, %%es; mov %w2, %%ss\n\t"
                 "ltr %w3"
                 : : "m"(gdtr), "m"(idtr), "r"(KERNEL_DS), "r"(TSS_SEL)
                 : "memory");
}

/* Run fn in user mode (CPL 3); int $0x80 is the way back */
static void __attribute__((naked, noinline))
run_user(void (*fn)(void), void *stack)
{
    asm("push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n\t"
        "mov %rsp, kernel_rsp(%rip)\n\t"
        "push $0x1b\n\t"            /* USER_DS */
        "push %rsi\n\t"
        "push $0x2\n\t"
        "push $0x23\n\t"            /* USER_CS */
        "lea 1f(%rip), %rax\n\t"
        "push %rax\n\t"
        "iretq\n"
        "1:\n\t"
        "call *%rdi\n\t"
        "int $0x80\n"
        "from_user:\n\t"
        "mov kernel_rsp(%rip), %rsp\n\t"
        "mov $0x10, %eax\n\t"       /* KERNEL_DS */
        "mov %eax, %ss\n\t"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n\t"
        "ret");
}

static void in_user_mode(void (*fn)(void))
{
    run_user(fn, user_stack + sizeof(user_stack));
}

/*
 * Execute one instruction (and what has to be around it): the exception that
 * it raised, or 0.  The caller's outputs and inputs follow the text.
 */
#define TRY(text, outputs, ...) ({ \
    fault_vector = 0; \
    asm volatile("leaq 9f(%%rip), %%r11\n\t" \
                 "movq %%r11, fault_resume(%%rip)\n\t" \
                 text "\n" \
                 "9:\n\t" \
                 "movq $0, fault_resume(%%rip)" \
                 : outputs : __VA_ARGS__ : "r11", "memory", "cc"); \
    fault_vector; })
#define NO_OUTPUT

/* Results */

static int cases;
static bool failed;

static void check(bool good, const char *name)
{
    cases++;
    if (!good) {
        failed = true;
        ml_printf("not ");
    }
    ml_printf("ok %d - %s\n", cases, name);
}

/* Registers of the processor */

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]),
                 "=d"(out[3]) : "a"(leaf), "c"(subleaf));
}

static int wrmsr(uint32_t msr, uint64_t val)
{
    return TRY("wrmsr", NO_OUTPUT, "c"(msr), "a"((uint32_t)val),
               "d"((uint32_t)(val >> 32)));
}

static uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;

    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return lo | (uint64_t)hi << 32;
}

static void set_cr0(uint32_t set, uint32_t clear)
{
    uint64_t val;

    asm volatile("mov %%cr0, %0" : "=r"(val));
    asm volatile("mov %0, %%cr0" : : "r"((val & ~(uint64_t)clear) | set));
}

static void set_cr4(uint32_t set, uint32_t clear)
{
    uint64_t val;

    asm volatile("mov %%cr4, %0" : "=r"(val));
    asm volatile("mov %0, %%cr4" : : "r"((val & ~(uint64_t)clear) | set));
}

static void xsetbv(uint32_t val)
{
    asm volatile("xsetbv" : : "c"(0), "a"(val), "d"(0));
}

/* Watch accesses to four bytes, or nothing */
static void set_breakpoint(const void *addr)
{
    breakpoints = 0;
    asm volatile("mov %0, %%dr0" : : "r"(addr));
    asm volatile("mov %0, %%dr7" : : "r"(addr ? 0xf0402ull : 0x400ull));
}

/* The entry that maps the 2 MiB at @addr */
static uint64_t *mapping(uint64_t addr)
{
    uint64_t *table;

    asm volatile("mov %%cr3, %0" : "=r"(table));
    table = (uint64_t *)(table[0] & ~0xfffull);
    table = (uint64_t *)(table[addr >> 30] & ~0xfffull);
    return &table[(addr >> 21) & 511];
}

/* Clear bits of the entry that maps the 2 MiB at @addr */
static void change_mapping(uint64_t addr, uint64_t clear)
{
    *mapping(addr) &= ~clear;
    asm volatile("invlpg (%0)" : : "r"(addr) : "memory");
}

/* Map the 2 MiB at @addr to a physical address */
static void map(uint64_t addr, uint64_t physical)
{
    *mapping(addr) = physical | (*mapping(addr) & 0xfff);
    asm volatile("invlpg (%0)" : : "r"(addr) : "memory");
}

/* Let the last GiB of the address space be the same as the first one */
static void map_last(void)
{
    uint64_t *table;

    asm volatile("mov %%cr3, %0" : "=r"(table));
    table[511] = table[0];
    table = (uint64_t *)(table[0] & ~0xfffull);
    table[511] = table[0];
}

/* The device */

static uint8_t *bar;

static uint32_t pci_read(int slot, int reg)
{
    uint32_t val;

    asm volatile("out %0, %w1" : : "a"(0x80000000 | slot << 11 | reg),
                 "d"(0xcf8));
    asm volatile("in %w1, %0" : "=a"(val) : "d"(0xcfc));
    return val;
}

static bool find_device(void)
{
    for (int slot = 0; slot < 32; slot++) {
        if (pci_read(slot, 0) == (DST_DEVICE_ID << 16 | DST_VENDOR_ID)) {
            bar = (uint8_t *)(uintptr_t)(pci_read(slot, 0x10) & ~15u);
            return true;
        }
    }
    return false;
}

static uint32_t reg(uint32_t offset)
{
    uint32_t val;

    asm volatile("mov (%1), %0" : "=r"(val) : "r"(bar + offset) : "memory");
    return val;
}

static void set_credits(uint32_t credits)
{
    asm volatile("mov %0, (%1)" : : "r"(credits), "r"(bar + DST_CREDITS)
                 : "memory");
}

static void *portal(uint32_t offset)
{
    return bar + DST_PORTAL + offset;
}

/* What the device counted since the last call */
typedef struct Counts {
    uint32_t direct, enqueue, writes;
} Counts;

static Counts counted(void)
{
    static Counts before;
    Counts now = { reg(DST_DIRECT_STORES), reg(DST_ENQUEUE_STORES),
                   reg(DST_WRITES) };
    Counts result = { now.direct - before.direct,
                      now.enqueue - before.enqueue,
                      now.writes - before.writes };

    before = now;
    return result;
}

static bool got(uint32_t direct, uint32_t enqueue, uint32_t writes)
{
    Counts c = counted();

    return c.direct == direct && c.enqueue == enqueue && c.writes == writes;
}

/* The device has these 64 bytes, but for the first four */
static bool got_data(const uint8_t *data, uint32_t first)
{
    if (reg(DST_DATA) != first) {
        return false;
    }
    for (int i = 4; i < 64; i += 4) {
        if (reg(DST_DATA + i) != *(const uint32_t *)(data + i)) {
            return false;
        }
    }
    return true;
}

/* The instructions */

static int movdir64b(void *dst, const void *src)
{
    return TRY("movdir64b (%1), %0", NO_OUTPUT, "r"(dst), "r"(src));
}

/* The arithmetic flags after an instruction of TRY_FLAGS */
static uint64_t flags;

#define TRY_FLAGS(insn, dst, src, before) ({ \
    uint64_t f = 0; \
    int v = TRY("pushq %3; popfq\n\t" insn " (%2), %1; pushfq; pop %0", \
                "+r"(f), "r"(dst), "r"(src), "r"((uint64_t)(before) | 2)); \
    flags = f & EFLAGS_ARITH; \
    v; })

/* All are set before but ZF, so that it is seen when each of them changes */
static int enqcmd(void *dst, const void *src)
{
    return TRY_FLAGS("enqcmd", dst, src, EFLAGS_ARITH & ~EFLAGS_ZF);
}

static int enqcmds(void *dst, const void *src)
{
    return TRY_FLAGS("enqcmds", dst, src, EFLAGS_ARITH & ~EFLAGS_ZF);
}

static int xsaves(void *area, uint64_t rfbm)
{
    return TRY("xsaves (%0)", NO_OUTPUT, "r"(area), "a"((uint32_t)rfbm),
               "d"((uint32_t)(rfbm >> 32)));
}

static int xrstors(void *area, uint64_t rfbm)
{
    return TRY("xrstors (%0)", NO_OUTPUT, "r"(area), "a"((uint32_t)rfbm),
               "d"((uint32_t)(rfbm >> 32)));
}

static int xsavec(void *area, uint64_t rfbm)
{
    return TRY("xsavec (%0)", NO_OUTPUT, "r"(area), "a"((uint32_t)rfbm),
               "d"((uint32_t)(rfbm >> 32)));
}

static int xsave(void *area, uint64_t rfbm)
{
    return TRY("xsave (%0)", NO_OUTPUT, "r"(area), "a"((uint32_t)rfbm),
               "d"((uint32_t)(rfbm >> 32)));
}

static int xrstor(void *area, uint64_t rfbm)
{
    return TRY("xrstor (%0)", NO_OUTPUT, "r"(area), "a"((uint32_t)rfbm),
               "d"((uint32_t)(rfbm >> 32)));
}

/* Data */

static uint8_t source_pages[8192] __attribute__((aligned(4096)));
static uint8_t ram[256] __attribute__((aligned(64)));
static uint8_t area[4096] __attribute__((aligned(64)));

/* 64 bytes, the first four zero, that start at any address */
static uint8_t *fill(uint8_t *data)
{
    for (int i = 0; i < 64; i++) {
        data[i] = i < 4 ? 0 : 0x40 + i;
    }
    return data;
}

static void fill_with(uint8_t *data, uint8_t val, int size)
{
    for (int i = 0; i < size; i++) {
        data[i] = val;
    }
}

static bool same(const uint8_t *a, const uint8_t *b, int size)
{
    for (int i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

static bool all(const uint8_t *data, uint8_t val, int size)
{
    for (int i = 0; i < size; i++) {
        if (data[i] != val) {
            return false;
        }
    }
    return true;
}

static uint64_t *area_q(int offset)
{
    return (uint64_t *)(area + offset);
}

/* An area in compacted format: all zero but the header */
static void make_area(uint64_t xcomp_bv, uint64_t xstate_bv)
{
    fill_with(area, 0, sizeof(area));
    *area_q(XCOMP_BV) = xcomp_bv;
    *area_q(XSTATE_BV) = xstate_bv;
}

/* MOVDIRI */

static void test_movdiri(void)
{
    uint64_t *q = (uint64_t *)ram;

    fill_with(ram, 0xff, sizeof(ram));
    TRY("movdiri %1, (%0)", NO_OUTPUT, "r"(q), "r"(0x11223344));
    check(q[0] == 0xffffffff11223344, "MOVDIRI stores 32 bits");
    TRY("movdiri %1, (%0)", NO_OUTPUT, "r"(q), "r"(0x1122334455667788));
    check(q[0] == 0x1122334455667788 && q[1] == ~0ull,
          "MOVDIRI stores 64 bits");
    TRY("movdiri %1, (%0)", NO_OUTPUT, "r"(portal(8)), "r"(7));
    check(got(0, 0, 1) && reg(DST_LAST_OFFSET) == 8,
          "MOVDIRI to a device is a write");
    check(TRY(".byte 0x0f, 0x38, 0xf9, 0xc8", NO_OUTPUT, "r"(0)) == UD,
          "MOVDIRI to a register raises #UD");
    check(TRY(".byte 0x66, 0x0f, 0x38, 0xf9, 0x08", NO_OUTPUT, "a"(q)) == UD,
          "MOVDIRI with prefix 66 raises #UD");
    check(TRY(".byte 0xf0, 0x0f, 0x38, 0xf9, 0x08", NO_OUTPUT, "a"(q)) == UD,
          "MOVDIRI with LOCK raises #UD");
    check(TRY("movdiri %1, (%0)", NO_OUTPUT, "r"(READ_ONLY), "r"(1)) == PF &&
          fault_error == 3, "MOVDIRI to a read-only page raises #PF");
}

/* MOVDIR64B */

static void test_movdir64b(void)
{
    uint8_t *src = fill(source_pages + 4096 - 29);

    fill_with(ram, 0xff, sizeof(ram));
    check(!movdir64b(ram + 64, src) && same(ram + 64, src, 64) &&
          all(ram, 0xff, 64) && all(ram + 128, 0xff, 64),
          "MOVDIR64B copies 64 bytes, from any address");
    check(movdir64b(ram + 32, src) == GP && fault_error == 0 &&
          all(ram, 0xff, 64),
          "MOVDIR64B to an unaligned address raises #GP(0)");
    check(!movdir64b(portal(0x80), src) && got(1, 0, 0) && got_data(src, 0) &&
          reg(DST_LAST_OFFSET) == 0x80,
          "MOVDIR64B reaches a device in one piece");
    set_breakpoint(ram + 64 + 60);
    check(!movdir64b(ram + 64, src) && breakpoints == 1 &&
          !movdir64b(ram, src) && breakpoints == 1 && same(ram, src, 64),
          "MOVDIR64B meets data breakpoints");
    set_breakpoint(source_pages + 4096);
    check(!movdir64b(ram + 64, src) && breakpoints == 1 &&
          same(ram + 64, src, 64), "MOVDIR64B meets those in its source");
    set_breakpoint(portal(0x80) + 60);
    check(!movdir64b(portal(0x80), src) && breakpoints == 1 && got(1, 0, 0),
          "MOVDIR64B meets those in a device");
    set_breakpoint(NULL);
    check(!movdir64b(bar + DST_REGS, src) && got(0, 0, 0) &&
          reg(DST_CREDITS) == 0x4f4e4d4c,
          "MOVDIR64B to other registers falls apart into writes");
    check(!TRY("movdir64b (%1), %k0", NO_OUTPUT,
               "r"((uint64_t)ram | 0x100000000), "a"((uint32_t)(uint64_t)src))
          && same(ram, src, 64),
          "MOVDIR64B with prefix 67 takes 32 bits of the register");
    check(movdir64b((void *)READ_ONLY, src) == PF && fault_error == 3,
          "MOVDIR64B to a read-only page raises #PF");
    check(movdir64b((void *)NOT_PRESENT, src) == PF && fault_error == 2,
          "MOVDIR64B to a missing page raises #PF");
    check(movdir64b(portal(0), (void *)(NOT_PRESENT - 32)) == PF &&
          fault_error == 0 && got(0, 0, 0),
          "MOVDIR64B from a missing page raises #PF and stores nothing");
    check(movdir64b((void *)0x8000000000000000, src) == GP,
          "MOVDIR64B to a non-canonical address raises #GP");
    check(TRY(".byte 0x66, 0x0f, 0x38, 0xf8, 0xc1", NO_OUTPUT, "r"(0)) == UD,
          "MOVDIR64B from a register raises #UD");
    check(TRY(".byte 0x0f, 0x38, 0xf8, 0x01", NO_OUTPUT, "a"(ram), "c"(src))
          == UD, "0F 38 F8 without prefix raises #UD");
    check(TRY(".byte 0xf0, 0x66, 0x0f, 0x38, 0xf8, 0x01", NO_OUTPUT, "a"(ram),
              "c"(src)) == UD, "MOVDIR64B with LOCK raises #UD");
    TRY_FLAGS("movdir64b", ram, src, EFLAGS_ARITH);
    check(flags == EFLAGS_ARITH, "MOVDIR64B leaves the flags");
}

/* Operands in two pages that are not neighbors in physical memory */

static void test_split(void)
{
    uint8_t *boundary = (uint8_t *)SPLIT + 0x200000;
    bool moved = true, stored = true;

    map((uint64_t)boundary, SPLIT_MEMORY);
    for (int n = 1; n < 64; n++) {
        uint8_t *src = fill(boundary - n);

        moved &= !movdir64b(ram, src) && same(ram, src, 64);
    }
    check(moved, "MOVDIR64B copies from two pages");
    asm volatile("fninit; fldpi; fstpt (%0)" : : "r"(ram) : "memory");
    for (int n = 1; n < 10; n++) {
        /* The memory that follows the first page */
        uint8_t *next = (uint8_t *)0x2800000ul;

        map((uint64_t)next, SPLIT + 0x200000);
        fill_with(next, 0xff, 16);
        fill_with(boundary - 10, 0, 20);
        asm volatile("fldpi; fstpt (%0)" : : "r"(boundary - n) : "memory");
        stored &= same(ram, boundary - n, 10) && all(next, 0xff, 16);
    }
    check(stored, "FSTP stores to two pages");

    map((uint64_t)boundary, SPLIT_DEVICE);
    for (int n = 1; n < 64; n++) {
        uint8_t *src = boundary - n;

        moved &= !movdir64b(ram, src) && same(ram, src, n);
    }
    check(moved, "MOVDIR64B copies from memory and a device");

    map_last();
    map(LAST, SPLIT_MEMORY);
    map((uint64_t)boundary, 0);
    fill_with((uint8_t *)-32ul, 0x5a, 32);
    check(!movdir64b(ram, (uint8_t *)-32ul) && all(ram, 0x5a, 32) &&
          same(ram + 32, boundary, 32),
          "MOVDIR64B copies from the end and the start of the address space");
}

/* IA32_PASID */

static void test_msr(void)
{
    check(!wrmsr(MSR_IA32_PASID, PASID_VALID | 0xfffff) &&
          rdmsr(MSR_IA32_PASID) == (PASID_VALID | 0xfffff),
          "IA32_PASID holds PASID and valid bit");
    check(wrmsr(MSR_IA32_PASID, 1 << 20) == GP &&
          wrmsr(MSR_IA32_PASID, 1 << 30) == GP &&
          wrmsr(MSR_IA32_PASID, 1ull << 32) == GP &&
          rdmsr(MSR_IA32_PASID) == (PASID_VALID | 0xfffff),
          "reserved bits of IA32_PASID raise #GP");
    check(!wrmsr(MSR_IA32_XSS, PASID) && rdmsr(MSR_IA32_XSS) == PASID &&
          wrmsr(MSR_IA32_XSS, PASID | AVX) == GP &&
          wrmsr(MSR_IA32_XSS, 1ull << 40) == GP &&
          rdmsr(MSR_IA32_XSS) == PASID,
          "IA32_XSS takes the PASID state and nothing else");
}

/* ENQCMD and ENQCMDS */

static int user_vector;
static uint64_t user_flags;

static void user_enqcmd(void)
{
    user_vector = enqcmd(portal(0x40), source_pages + 1);
    user_flags = flags;
}

static void user_enqcmds(void)
{
    user_vector = enqcmds(portal(0x40), source_pages + 1);
}

static void test_enqcmd(void)
{
    uint8_t *src = fill(source_pages + 1);

    set_credits(100);
    wrmsr(MSR_IA32_PASID, 0x12345);
    check(enqcmd(portal(0), src) == GP && fault_error == 0 && got(0, 0, 0),
          "ENQCMD without a valid PASID raises #GP(0)");
    wrmsr(MSR_IA32_PASID, PASID_VALID | 0xabcde);
    check(!enqcmd(portal(0x40), src) && got(0, 1, 0) &&
          got_data(src, 0xabcde) && reg(DST_LAST_OFFSET) == 0x40 &&
          reg(DST_CREDITS) == 99 && flags == 0,
          "ENQCMD sends PASID and command; all flags clear if accepted");
    set_breakpoint(portal(0x40) + 4);
    check(!enqcmd(portal(0x40), src) && breakpoints == 1 && got(0, 1, 0),
          "ENQCMD meets data breakpoints, and is sent once");
    set_breakpoint(NULL);
    in_user_mode(user_enqcmd);
    check(!user_vector && user_flags == 0 && got(0, 1, 0) &&
          got_data(src, 0xabcde), "ENQCMD works in user mode");
    set_credits(0);
    check(!enqcmd(portal(0), src) && got(0, 1, 0) && flags == EFLAGS_ZF,
          "ENQCMD sets ZF, and clears the others, for retry");
    in_user_mode(user_enqcmd);
    check(!user_vector && user_flags == EFLAGS_ZF && got(0, 1, 0),
          "ENQCMD sets ZF in user mode");
    set_credits(100);
    fill_with(ram, 0xff, 64);
    check(!enqcmd(ram, src) && flags == EFLAGS_ZF && all(ram, 0xff, 64),
          "ENQCMD to RAM stores nothing and sets ZF");
    check(!enqcmd(bar + DST_REGS, src) && flags == EFLAGS_ZF &&
          reg(DST_CREDITS) == 100 && got(0, 0, 0),
          "ENQCMD to other registers stores nothing and sets ZF");
    check(enqcmd(portal(0x20), src) == GP && got(0, 0, 0),
          "ENQCMD to an unaligned address raises #GP");
    src[0] = 1;
    check(enqcmd(portal(0), src) == GP && fault_error == 0 && got(0, 0, 0),
          "ENQCMD with a PASID in the command raises #GP(0)");
    src[0] = 0;
    src[3] = 0x80;
    check(enqcmd(portal(0), src) == GP && got(0, 0, 0),
          "ENQCMD with the privilege bit in the command raises #GP");
    src[3] = 0;
    check(enqcmd((void *)READ_ONLY, src) == PF && fault_error == 3,
          "ENQCMD to a read-only page raises #PF");
    check(enqcmd(portal(0), (void *)NOT_PRESENT) == PF && got(0, 0, 0),
          "ENQCMD from a missing page raises #PF");
    check(TRY(".byte 0xf2, 0x0f, 0x38, 0xf8, 0xc1", NO_OUTPUT, "r"(0)) == UD,
          "ENQCMD from a register raises #UD");
    check(TRY(".byte 0xf0, 0xf2, 0x0f, 0x38, 0xf8, 0x01", NO_OUTPUT,
              "a"(portal(0)), "c"(src)) == UD && got(0, 0, 0),
          "ENQCMD with LOCK raises #UD");
    check(!TRY("enqcmd (%1), %k0", NO_OUTPUT,
               "r"((uint64_t)portal(0) | 0x100000000),
               "a"((uint32_t)(uint64_t)src)) && got(0, 1, 0),
          "ENQCMD with prefix 67 takes 32 bits of the register");
}

static void test_enqcmds(void)
{
    uint8_t *src = fill(source_pages + 1);

    set_credits(100);
    wrmsr(MSR_IA32_PASID, 0);
    *(uint32_t *)src = PASID_VALID | 0x54321;
    check(!enqcmds(portal(0xfc0), src) && got(0, 1, 0) &&
          got_data(src, PASID_VALID | 0x54321) && flags == 0 &&
          reg(DST_LAST_OFFSET) == 0xfc0,
          "ENQCMDS takes PASID and privilege from the command");
    *(uint32_t *)src = 1 << 20;
    check(enqcmds(portal(0), src) == GP && fault_error == 0 && got(0, 0, 0),
          "ENQCMDS with reserved bit 20 raises #GP(0)");
    *(uint32_t *)src = 1 << 30;
    check(enqcmds(portal(0), src) == GP && got(0, 0, 0),
          "ENQCMDS with reserved bit 30 raises #GP");
    *(uint32_t *)src = 0;
    in_user_mode(user_enqcmds);
    check(user_vector == GP && fault_error == 0 && got(0, 0, 0),
          "ENQCMDS in user mode raises #GP(0)");
    check(enqcmds(portal(8), src) == GP && got(0, 0, 0),
          "ENQCMDS to an unaligned address raises #GP");
    set_credits(0);
    check(!enqcmds(portal(0), src) && flags == EFLAGS_ZF && got(0, 1, 0),
          "ENQCMDS sets ZF, and clears the others, for retry");
}

/* XSAVES and its family */

static void test_cpuid(void)
{
    uint32_t r[4];

    cpuid(0xd, 1, r);
    check((r[0] & 0xa) == 0xa && (r[2] & PASID),
          "CPUID: XSAVEC, XSAVES and the PASID state");
    xsetbv(X87 | SSE | AVX);
    wrmsr(MSR_IA32_XSS, PASID);
    cpuid(0xd, 1, r);
    check(r[1] == EXTENDED + 256 + 8, "CPUID: size with the PASID state");
    wrmsr(MSR_IA32_XSS, 0);
    cpuid(0xd, 1, r);
    check(r[1] == EXTENDED + 256, "CPUID: size without the PASID state");
    wrmsr(MSR_IA32_XSS, PASID);
    cpuid(0xd, 10, r);
    check(r[0] == 8 && r[1] == 0 && r[2] == 1,
          "CPUID: the PASID state is supervisor state of 8 bytes");
    cpuid(0xd, 0, r);
    check(!(r[0] & PASID), "CPUID: the PASID state is not in XCR0");
}

static void user_xsaves(void)
{
    user_vector = xsaves(area, X87);
}

static void user_xrstors(void)
{
    user_vector = xrstors(area, X87);
}

static void user_xsavec(void)
{
    user_vector = xsavec(area, ~0ull);
}

static void test_xsaves(void)
{
    const uint64_t pasid = PASID_VALID | 0x777;

    wrmsr(MSR_IA32_PASID, pasid);
    fill_with(area, 0xcc, sizeof(area));
    check(!xsaves(area, AVX | PASID) &&
          *area_q(XCOMP_BV) == (COMPACTED | AVX | PASID) &&
          (*area_q(XSTATE_BV) & ~(uint64_t)AVX) == PASID &&
          *area_q(EXTENDED + 256) == pasid,
          "XSAVES saves the PASID state behind AVX");
    check(all(area + XCOMP_BV + 8, 0xcc, EXTENDED - XCOMP_BV - 8) &&
          all(area, 0xcc, 512) && all(area + EXTENDED + 264, 0xcc, 64),
          "XSAVES leaves the rest of the area");
    fill_with(area, 0xcc, sizeof(area));
    check(!xsaves(area, PASID) && *area_q(EXTENDED) == pasid,
          "XSAVES of the PASID state alone has no gap");
    wrmsr(MSR_IA32_PASID, 0);
    check(!xsaves(area, PASID) && *area_q(XSTATE_BV) == 0 &&
          *area_q(XCOMP_BV) == (COMPACTED | PASID),
          "XSAVES: IA32_PASID of zero is the initial state");
    wrmsr(MSR_IA32_XSS, 0);
    check(!xsaves(area, ~0ull) &&
          *area_q(XCOMP_BV) == (COMPACTED | X87 | SSE | AVX),
          "XSAVES saves what XCR0 and IA32_XSS enable");
    wrmsr(MSR_IA32_XSS, PASID);
    check(xsaves(area + 8, PASID) == GP, "XSAVES unaligned raises #GP");
    in_user_mode(user_xsaves);
    check(user_vector == GP, "XSAVES in user mode raises #GP");
    set_cr0(CR0_TS, 0);
    check(xsaves(area, PASID) == NM && xsavec(area, X87) == NM &&
          xrstors(area, PASID) == NM, "XSAVES with CR0.TS raises #NM");
    set_cr4(0, CR4_OSXSAVE);
    check(xsaves(area, PASID) == UD && xsavec(area, X87) == UD &&
          xrstors(area, PASID) == UD,
          "XSAVES without CR4.OSXSAVE raises #UD, with CR0.TS too");
    set_cr4(CR4_OSXSAVE, 0);
    set_cr0(0, CR0_TS);
}

static void test_xrstors(void)
{
    const uint64_t pasid = PASID_VALID | 0x888;

    wrmsr(MSR_IA32_PASID, 0);
    make_area(COMPACTED | AVX | PASID, PASID);
    *area_q(EXTENDED + 256) = pasid;
    check(!xrstors(area, PASID) && rdmsr(MSR_IA32_PASID) == pasid,
          "XRSTORS loads the PASID state");
    check(!xrstors(area, AVX) && rdmsr(MSR_IA32_PASID) == pasid,
          "XRSTORS leaves what is not asked for");
    make_area(COMPACTED | PASID, 0);
    check(!xrstors(area, PASID) && rdmsr(MSR_IA32_PASID) == 0,
          "XRSTORS brings the PASID state to its initial value");
    wrmsr(MSR_IA32_PASID, pasid);
    make_area(COMPACTED, 0);
    check(!xrstors(area, PASID) && rdmsr(MSR_IA32_PASID) == 0,
          "XRSTORS: not in XCOMP_BV is initial state");
    wrmsr(MSR_IA32_PASID, pasid);
    make_area(COMPACTED | PASID, PASID);
    *area_q(EXTENDED) = 1 << 21;
    check(xrstors(area, PASID) == GP && rdmsr(MSR_IA32_PASID) == pasid,
          "XRSTORS: reserved bits of IA32_PASID raise #GP");
    make_area(PASID, PASID);
    check(xrstors(area, PASID) == GP,
          "XRSTORS from an area in standard format raises #GP");
    make_area(COMPACTED | 1ull << 40, 0);
    check(xrstors(area, PASID) == GP,
          "XRSTORS: XCOMP_BV with what is not enabled raises #GP");
    make_area(COMPACTED | AVX, AVX | PASID);
    check(xrstors(area, PASID) == GP,
          "XRSTORS: XSTATE_BV with what is not in XCOMP_BV raises #GP");
    make_area(COMPACTED | PASID, 1ull << 63);
    check(xrstors(area, PASID) == GP, "XRSTORS: XSTATE_BV[63] raises #GP");
    make_area(COMPACTED | PASID, 0);
    area[XCOMP_BV + 8] = 1;
    check(xrstors(area, PASID) == GP,
          "XRSTORS: byte 16 of the header raises #GP");
    make_area(COMPACTED | PASID, 0);
    area[EXTENDED - 1] = 1;
    check(xrstors(area, PASID) == GP,
          "XRSTORS: byte 63 of the header raises #GP");
    make_area(COMPACTED | PASID, 0);
    check(xrstors(area + 16, PASID) == GP, "XRSTORS unaligned raises #GP");
    in_user_mode(user_xrstors);
    check(user_vector == GP, "XRSTORS in user mode raises #GP");
}

static void test_xsavec(void)
{
    uint64_t ymm[4] = { 1, 2, 3, 4 }, loaded[4];
    uint32_t mxcsr = 0x1fa0, r[4], pkru;

    wrmsr(MSR_IA32_PASID, PASID_VALID | 1);
    fill_with(area, 0xcc, sizeof(area));
    in_user_mode(user_xsavec);
    check(!user_vector && *area_q(XCOMP_BV) == (COMPACTED | X87 | SSE | AVX) &&
          !(*area_q(XSTATE_BV) & PASID),
          "XSAVEC works in user mode, without supervisor state");

    asm volatile("vmovdqu %0, %%ymm3; ldmxcsr %1" : : "m"(ymm), "m"(mxcsr));
    check(!xsavec(area, SSE | AVX) &&
          *area_q(160 + 3 * 16) == 1 && *area_q(160 + 3 * 16 + 8) == 2 &&
          *area_q(EXTENDED + 3 * 16) == 3 && *(uint32_t *)(area + 24) == mxcsr,
          "XSAVEC saves SSE and AVX");
    asm volatile("vzeroall");
    mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    fill_with(area + XCOMP_BV + 8, 0, EXTENDED - XCOMP_BV - 8);
    check(!xrstor(area, SSE | AVX), "XRSTOR takes an area of XSAVEC");
    asm volatile("vmovdqu %%ymm3, %0; stmxcsr %1" : "=m"(loaded), "=m"(mxcsr));
    check(same((uint8_t *)loaded, (uint8_t *)ymm, 32) && mxcsr == 0x1fa0,
          "XRSTOR loads SSE and AVX from it");
    make_area(COMPACTED | SSE | AVX, AVX);
    *(uint32_t *)(area + 24) = 0x1fa0;
    check(!xrstor(area, SSE | AVX), "XRSTOR takes SSE in its initial state");
    asm volatile("vmovdqu %%ymm3, %0; stmxcsr %1" : "=m"(loaded), "=m"(mxcsr));
    check(all((uint8_t *)loaded, 0, 32) && mxcsr == 0x1f80,
          "XRSTOR: compacted, MXCSR belongs to SSE");
    make_area(COMPACTED | PASID, 0);
    check(xrstor(area, X87) == GP, "XRSTOR refuses supervisor state");

    xsetbv(X87 | SSE | AVX | PKRU);
    fill_with(area, 0xcc, sizeof(area));
    set_cr4(1 << 22, 0);
    asm volatile("wrpkru" : : "a"(0x40000000), "c"(0), "d"(0));
    check(!xsavec(area, SSE | PKRU) &&
          *(uint32_t *)(area + EXTENDED) == 0x40000000,
          "XSAVEC leaves no gap for what is not saved");

    /* 13.4.2: where CPUID says */
    cpuid(0xd, 9, r);
    make_area(0, 0);
    check(!xsave(area, SSE | PKRU) && *area_q(XCOMP_BV) == 0 &&
          all(area + EXTENDED, 0, r[1] - EXTENDED) &&
          *(uint32_t *)(area + r[1]) == 0x40000000,
          "XSAVE leaves the gap");
    asm volatile("wrpkru" : : "a"(0), "c"(0), "d"(0));
    check(!xrstor(area, PKRU), "XRSTOR takes an area of XSAVE");
    asm volatile("rdpkru" : "=a"(pkru) : "c"(0) : "rdx");
    check(pkru == 0x40000000, "XRSTOR finds PKRU behind the gap");
    asm volatile("wrpkru" : : "a"(0), "c"(0), "d"(0));
    set_cr4(0, 1 << 22);
    xsetbv(X87 | SSE | AVX);
}

/* A processor without the instructions */

static void test_undefined(void)
{
    uint8_t *src = fill(source_pages);

    check(TRY("movdiri %1, (%0)", NO_OUTPUT, "r"(ram), "r"(1)) == UD,
          "MOVDIRI raises #UD");
    check(movdir64b(ram, src) == UD, "MOVDIR64B raises #UD");
    check(enqcmd(portal(0), src) == UD, "ENQCMD raises #UD");
    check(enqcmds(portal(0), src) == UD, "ENQCMDS raises #UD");
    check(xsavec(area, X87) == UD, "XSAVEC raises #UD");
    check(xsaves(area, X87) == UD, "XSAVES raises #UD");
    make_area(COMPACTED, 0);
    check(xrstors(area, X87) == UD, "XRSTORS raises #UD");
    check(xrstor(area, X87) == GP, "XRSTOR of the compacted format raises #GP");
    wrmsr(MSR_IA32_PASID, PASID_VALID | 1);
    check(rdmsr(MSR_IA32_PASID) == 0, "there is no IA32_PASID");
    wrmsr(MSR_IA32_XSS, PASID);
    check(rdmsr(MSR_IA32_XSS) == 0, "there is no IA32_XSS");
    check(got(0, 0, 0), "nothing reached the device");
}

int main(void)
{
    uint32_t r[4];

    set_cr4(CR4_OSFXSR | CR4_OSXSAVE, 0);
    set_cr0(CR0_WP, 0);
    setup_exceptions();
    if (!find_device()) {
        ml_printf("1..0 # SKIP there is no direct-store-testdev\n");
        return 0;
    }
    xsetbv(X87 | SSE | AVX);
    change_mapping(READ_ONLY, 2);
    change_mapping(NOT_PRESENT, 1);

    cpuid(7, 0, r);
    r[2] = (r[2] >> 27) & 7;
    if (r[2] == 7) {
        test_movdiri();
        test_movdir64b();
        test_split();
        test_msr();
        test_enqcmd();
        test_enqcmds();
        test_cpuid();
        test_xsaves();
        test_xrstors();
        test_xsavec();
    } else {
        check(r[2] == 0, "CPUID has none of the instructions");
        test_undefined();
    }
    ml_printf("1..%d\n", cases);
    return failed;
}
