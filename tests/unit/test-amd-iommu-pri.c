/*
 * Unit tests of AMD-Vi page requests between functions and a guest
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/pci/pcie_pri.c, hw/i386/amd_iommu_pri.c and
 * hw/i386/amd_iommu_ppr.c together, between fake functions with their own
 * threads, and a fake guest that responds slowly, wrongly, twice or never.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 *
 * Environment:
 *   PRI_TEST_SEED  seed of the guest's actions (printed; default: the time)
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci-internal.h"
#include "system/runstate.h"
#include "hw/i386/amd_iommu_event.h"
#include "hw/i386/amd_iommu_ppr.h"
#include "hw/i386/amd_iommu_pri.h"
#include "hw/i386/amd_iommu_resolve.h"
#include "fake-pci.h"
#include "test-random.h"

#define CAP         FAKE_PCI_CAP
#define LOG         0x10000ull
#define LOG_SIZE    0x1000
#define LENGTH      (8ull << 56)
#define DEVFN       0x20
#define DEVID       PCI_BUILD_BDF(1, DEVFN)
#define PASIDS      2           /* PASIDs of each function, from 1 on */
#define FUNCTIONS   3

/* IommuEn, PPRLogEn, PPRIntEn and PPREn */
#define CONTROL     0xe001
#define PPR_EN      (1u << 15)
#define LOG_EN      (1u << 13)

/* Bits of the Status register */
#define OVERFLOW    (1u << 5)
#define INT         (1u << 6)
#define RUN         (1u << 7)

/* ---- Replacements for functions that the code under test calls ---- */

static PCIBus buses[FUNCTIONS];

int pci_bus_num(PCIBus *bus)
{
    return 1 + (bus - buses);
}

VMChangeStateEntry *qemu_add_vm_change_state_handler(VMChangeStateHandler *cb,
                                                     void *opaque)
{
    return NULL;
}

uint64_t amdvi_readq(AMDVIState *s, hwaddr addr)
{
    return ldq_le_p(&s->mmior[addr]);
}

void amdvi_writeq_raw(AMDVIState *s, hwaddr addr, uint64_t val)
{
    g_assert_true(bql_locked());
    stq_le_p(&s->mmior[addr], val);
}

void amdvi_assign_orq(AMDVIState *s, hwaddr addr, uint64_t val)
{
    amdvi_writeq_raw(s, addr, amdvi_readq(s, addr) | val);
}

void amdvi_assign_andq(AMDVIState *s, hwaddr addr, uint64_t val)
{
    amdvi_writeq_raw(s, addr, amdvi_readq(s, addr) & val);
}

static unsigned interrupts;

void amdvi_generate_ppr_interrupt(AMDVIState *s)
{
    g_assert_true(bql_locked());
    interrupts++;
}

static uint64_t memory[LOG_SIZE / 8];

bool iommu_ram_write(const IOMMURam *ram, hwaddr addr, const uint64_t *val,
                     unsigned n)
{
    if (addr < LOG || addr >= LOG + LOG_SIZE) {
        return false;
    }
    memcpy(&memory[(addr - LOG) / 8], val, n * 8);
    return true;
}

/* The device table entry of all functions, and a fault of all lookups */
static struct {
    bool enabled;
    bool valid;
    bool page_requests;
    AMDVIFault fault;
} table;

bool amdvi_resolver_enabled(const AMDVIResolver *r)
{
    return qatomic_read(&table.enabled);
}

const AMDVITarget *amdvi_resolve(AMDVIResolver *r, uint16_t devid,
                                 uint32_t pasid, AMDVITarget *scratch)
{
    *scratch = (AMDVITarget) {
        .devid = devid,
        .pasid = pasid,
        .fault = qatomic_read(&table.fault),
        .unreachable = 0xdead0,
        .dte.valid = qatomic_read(&table.valid),
        .dte.page_requests = qatomic_read(&table.page_requests),
    };
    return scratch;
}

/* The last events */
static AMDVIFault last_fault;
static uint64_t last_invalid;
static hwaddr last_invalid_addr;
static unsigned events;

void amdvi_request_fault(const AMDVIRequest *rq, const AMDVIDTE *dte,
                         AMDVIFault fault, hwaddr addr, hwaddr unreachable)
{
    g_assert_false(rq->translation);
    g_assert_cmphex(unreachable, ==, 0xdead0);
    last_fault = fault;
    qatomic_inc(&events);
}

void amdvi_event_log(AMDVIState *s, uint64_t lo, uint64_t hi, bool abort)
{
    g_assert_false(abort);
    qatomic_set(&last_invalid, lo);
    qatomic_set(&last_invalid_addr, hi);
    qatomic_inc(&events);
}

/* ---- The IOMMU and the functions ---- */

static const PCIIOMMUOps ops = {
    .pri_register_notifier = amdvi_pri_register_notifier,
    .pri_unregister_notifier = amdvi_pri_unregister_notifier,
    .pri_request_page = amdvi_pri_request_page,
};

static AMDVIState *iommu;
static PCIDevice *functions[FUNCTIONS];

static uint64_t read_reg(hwaddr reg)
{
    amdvi_ppr_sync(iommu);
    return amdvi_readq(iommu, reg);
}

static void write_control(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_CONTROL, val);
    amdvi_ppr_write_control(iommu);
}

static void write_base(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_PPR_BASE, val);
    amdvi_ppr_write_base(iommu);
}

static void write_head(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_PPR_HEAD, val);
    amdvi_ppr_write_head(iommu);
}

static void write_ctrl(PCIDevice *dev, uint16_t val)
{
    fake_pci_write(dev, CAP + PCI_PRI_CTRL, val, 2);
    pcie_pri_write_config(dev, CAP + PCI_PRI_CTRL, val, 2);
}

/* Resets a function, which ends its groups with Response Failure */
static void reset_function(PCIDevice *dev)
{
    write_ctrl(dev, PCI_PRI_CTRL_RESET);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
}

static uint16_t function_status(PCIDevice *dev)
{
    pcie_pri_sync_config(dev);
    return pci_get_word(dev->config + CAP + PCI_PRI_STATUS) &
           ~PCI_PRI_STATUS_PASID;
}

static PCIDevice *function_new(PCIBus *bus)
{
    PCIDevice *dev = fake_pci_new(NULL, &ops);

    dev->iommu.opaque = iommu;
    dev->iommu.bus = bus;
    dev->iommu.devfn = DEVFN;
    pcie_pri_init(dev, CAP, 512, true);
    fake_pci_write(dev, CAP + PCI_PRI_ALLOC_REQ, 512, 4);
    pcie_pri_write_config(dev, CAP + PCI_PRI_ALLOC_REQ, 512, 4);
    reset_function(dev);
    return dev;
}

static void set_up(void)
{
    bql_lock();
    memset(iommu->mmior, 0, sizeof(iommu->mmior));
    amdvi_ppr_reset(iommu);
    table.enabled = table.valid = table.page_requests = true;
    table.fault = AMDVI_FAULT_NONE;
    interrupts = events = 0;
    write_base(LOG | LENGTH);
    write_control(CONTROL);
    for (int i = 0; i < FUNCTIONS; i++) {
        functions[i] = function_new(&buses[i]);
    }
}

static void tear_down(void)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        pcie_pri_exit(functions[i]);
        fake_pci_free(functions[i]);
    }
    bql_unlock();
}

/* ---- A user of a function and PASID ---- */

typedef struct User {
    IOMMUPRINotifier notifier;
    PCIDevice *dev;
    uint32_t pasid;
    /* Outstanding groups: the user sets an element, the response clears it */
    bool open[PCI_PRGI_MAX + 1];
    /* For user_wait(); TSan does not see the futex of a QemuEvent */
    QemuMutex lock;
    QemuCond answered;
    unsigned answers[3];
} User;

static void user_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    User *user = container_of(n, User, notifier);

    qatomic_inc(&user->answers[response->response_code]);
    /* Each group gets one response; waiting threads count the responses. */
    g_assert_true(qatomic_xchg(&user->open[response->prgi], false));
    qemu_mutex_lock(&user->lock);
    qemu_cond_signal(&user->answered);
    qemu_mutex_unlock(&user->lock);
}

static void user_init(User *user, PCIDevice *dev, uint32_t pasid)
{
    *user = (User) {
        .notifier.notify = user_notify,
        .dev = dev,
        .pasid = pasid,
    };
    qemu_mutex_init(&user->lock);
    qemu_cond_init(&user->answered);
    g_assert_cmpint(pci_pri_register_notifier(dev, pasid, &user->notifier), ==,
                    0);
}

static void user_exit(User *user)
{
    pci_pri_unregister_notifier(user->dev, user->pasid);
    qemu_cond_destroy(&user->answered);
    qemu_mutex_destroy(&user->lock);
}

/* Sends a group of one request */
static int user_request(User *user, uint16_t prgi)
{
    int ret;

    g_assert_false(qatomic_xchg(&user->open[prgi], true));
    ret = pci_pri_request_page(user->dev, user->pasid, false, false,
                               (uint64_t)prgi << 12, true, prgi, true, false);
    if (ret) {
        /* After an error there is no response. */
        g_assert_true(qatomic_xchg(&user->open[prgi], false));
    }
    return ret;
}

static unsigned user_answers(User *user)
{
    unsigned sum = 0;

    for (int i = 0; i < ARRAY_SIZE(user->answers); i++) {
        sum += qatomic_read(&user->answers[i]);
    }
    return sum;
}

/* ---- The guest ---- */

static void complete(uint16_t devid, uint32_t pasid, uint16_t prgi,
                     unsigned code)
{
    const AMDVICommand command = {
        .opcode = AMDVI_CMD_COMPLETE_PPR_REQUEST,
        .devid = devid,
        .pasid = pasid,
        .tag = prgi | code << 12,
    };

    amdvi_pri_complete(iommu, &command);
}

/* Takes the next entry; returns false if there is none */
static bool take(uint64_t entry[2])
{
    uint64_t head = read_reg(AMDVI_MMIO_PPR_HEAD);

    if (head == read_reg(AMDVI_MMIO_PPR_TAIL)) {
        return false;
    }
    memcpy(entry, &memory[head / 8], 16);
    write_head((head + 16) % LOG_SIZE);
    return true;
}

/* ---- Rules ---- */

/* 2.6: the entry, with the fields where Linux's ppr.c reads them */
static void test_entry(void **state)
{
    static const struct {
        uint32_t pasid;
        bool priv, exec, last, read, write;
        uint16_t prgi;
        uint64_t lo;
    } cases[] = {
        { 0xa1234, .prgi = 0x155, .read = true, .last = true,
          .lo = 0x1144000012340000 | 0xaull << 42 | 0x355ull << 32 },
        { 1, .prgi = 1, .write = true,
          .lo = 0x1160000000010000 | 0x001ull << 32 },
        { 1, .prgi = 0x1ff, .read = true, .exec = true,
          .lo = 0x1146000000010000 | 0x1ffull << 32 },
        { 1, .prgi = 1, .read = true, .priv = true, .write = true,
          .lo = 0x1124000000010000 | 0x001ull << 32 },
        /* A Stop Marker */
        { 1, .prgi = 1, .last = true,
          .lo = 0x1140000000010000 | 0x201ull << 32 },
        /* GN = 0: neither PASID nor US */
        { PCI_NO_PASID, .prgi = 1, .read = true, .last = true,
          .lo = 0x1004000000000000 | 0x201ull << 32 },
    };
    uint64_t entry[2];

    set_up();
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(amdvi_pri_request_page(&buses[2], iommu, DEVFN,
                                                cases[i].pasid, cases[i].priv,
                                                cases[i].exec, 0x123456789abc,
                                                cases[i].last, cases[i].prgi,
                                                cases[i].read, cases[i].write),
                         0);
        assert_true(take(entry));
        assert_int_equal(entry[0], cases[i].lo | 0x320);
        assert_int_equal(entry[1], 0x123456789000);
    }
    assert_int_equal(interrupts, 1);
    assert_int_equal(events, 0);
    tear_down();
}

/* The IOMMU responds to the last request only; each request logs @n events */
static void check_dropped(User *user, IOMMUPRIResponseCode code, int error,
                          unsigned n)
{
    unsigned before = user->answers[code];

    events = 0;
    assert_int_equal(pci_pri_request_page(user->dev, user->pasid, false, false,
                                          0x5678, false, 3, true, false),
                     error);
    assert_int_equal(user_answers(user), before);
    assert_int_equal(user_request(user, 3), 0);
    assert_int_equal(user->answers[code], before + 1);
    assert_int_equal(pcie_pri_outstanding(user->dev), 0);
    assert_int_equal(events, 2 * n);
    /* A request for write permission alone is no Stop Marker. */
    g_assert_false(qatomic_xchg(&user->open[3], true));
    assert_int_equal(pci_pri_request_page(user->dev, user->pasid, false, false,
                                          0x5678, true, 3, false, true), 0);
    assert_int_equal(user->answers[code], before + 2);
    assert_int_equal(pcie_pri_outstanding(user->dev), 0);
    /* A Stop Marker has no response (PCIe 5.0, 10.4.1.2). */
    assert_int_equal(pci_pri_request_page(user->dev, user->pasid, false, false,
                                          0, true, 3, false, false), error);
    assert_int_equal(user_answers(user), before + 2);
    assert_int_equal(read_reg(AMDVI_MMIO_PPR_TAIL), 0);
}

/*
 * 2.5.10: INVALID_PPR_REQUEST.  The PASID is elsewhere than in other events,
 * and RX says that the IOMMU responds, as Linux's amd_iommu_report_ppr_err()
 * reads the event.
 */
static void test_invalid_event(void **state)
{
    set_up();
    table.page_requests = false;
    amdvi_pri_request_page(&buses[0], iommu, DEVFN, 0xa1234, true, true,
                           0x123456789abc, true, 0x155, true, true);
    assert_int_equal(last_invalid, 9ull << 60 | 1ull << 57 | 1ull << 48 |
                     0xaull << 42 | 0x355ull << 32 | 0x12340000 | DEVID);
    assert_int_equal(last_invalid_addr, 0x123456789000);
    amdvi_pri_request_page(&buses[0], iommu, DEVFN, PCI_NO_PASID, false, false,
                           0x1000, false, 0x1ff, true, false);
    assert_int_equal(last_invalid, 9ull << 60 | 1ull << 48 | 0x1ffull << 32 |
                     DEVID);
    tear_down();
}

/* 2.5.10: devices that must not send page requests */
static void test_invalid(void **state)
{
    static const AMDVIFault faults[] = {
        AMDVI_FAULT_DEVICE_ID, AMDVI_FAULT_NO_TRANSLATION, AMDVI_FAULT_NO_GUEST,
    };
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    write_control(CONTROL & ~PPR_EN);
    check_dropped(&user, IOMMU_PRI_RESP_INVALID_REQUEST, -EFAULT, 1);
    write_control(CONTROL);
    table.page_requests = false;
    check_dropped(&user, IOMMU_PRI_RESP_INVALID_REQUEST, -EFAULT, 1);
    table.page_requests = true;
    table.valid = false;
    check_dropped(&user, IOMMU_PRI_RESP_INVALID_REQUEST, -EFAULT, 1);
    table.valid = true;
    for (int i = 0; i < ARRAY_SIZE(faults); i++) {
        table.fault = faults[i];
        check_dropped(&user, IOMMU_PRI_RESP_INVALID_REQUEST, -EFAULT, 1);
    }
    user_exit(&user);
    tear_down();
}

/* 2.5.2, 2.5.4: a device table entry that is illegal or not in memory */
static void test_bad_entry(void **state)
{
    static const AMDVIFault faults[] = {
        AMDVI_FAULT_DTE_UNREACHABLE, AMDVI_FAULT_DTE_RESERVED,
        AMDVI_FAULT_DTE_LEVEL,
    };
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    for (int i = 0; i < ARRAY_SIZE(faults); i++) {
        table.fault = faults[i];
        last_invalid = 0;
        check_dropped(&user, IOMMU_PRI_RESP_INVALID_REQUEST, -EFAULT, 1);
        assert_int_equal(last_fault, faults[i]);
        assert_int_equal(last_invalid, 0);
    }
    user_exit(&user);
    tear_down();
}

/* Software decides about PASIDs without tables */
static void test_no_tables(void **state)
{
    uint64_t entry[2];
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    table.fault = AMDVI_FAULT_GCR3_NOT_PRESENT;
    assert_int_equal(user_request(&user, 3), 0);
    assert_true(take(entry));
    assert_int_equal(events, 0);
    complete(DEVID, 1, 3, 1);
    assert_int_equal(user.answers[IOMMU_PRI_RESP_INVALID_REQUEST], 1);
    user_exit(&user);
    tear_down();
}

/* With IommuEn clear there are no events */
static void test_disabled(void **state)
{
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    table.enabled = false;
    check_dropped(&user, IOMMU_PRI_RESP_INVALID_REQUEST, -EFAULT, 0);
    user_exit(&user);
    tear_down();
}

/* A log that is not in memory */
static void test_unreachable(void **state)
{
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    write_base((LOG + LOG_SIZE) | LENGTH);
    check_dropped(&user, IOMMU_PRI_RESP_INVALID_REQUEST, -EFAULT, 0);
    user_exit(&user);
    tear_down();
}

/* A log that does not run: the function has to send the request again */
static void test_overflow(void **state)
{
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    write_control(CONTROL & ~LOG_EN);
    check_dropped(&user, IOMMU_PRI_RESP_SUCCESS, -ENOSPC, 0);
    assert_int_equal(read_reg(AMDVI_MMIO_STATUS), 0);
    write_control(CONTROL);
    write_head(16);
    check_dropped(&user, IOMMU_PRI_RESP_SUCCESS, -ENOSPC, 0);
    assert_int_equal(read_reg(AMDVI_MMIO_STATUS), OVERFLOW);
    user_exit(&user);
    tear_down();
}

/* Plain amd-iommu does not serve page requests */
static void test_not_announced(void **state)
{
    AMDVIPageRequests *pri = iommu->pri;
    User user = { };

    set_up();
    iommu->pri = NULL;
    assert_int_equal(pci_pri_register_notifier(functions[0], 1,
                                               &user.notifier), -ENODEV);
    assert_int_equal(amdvi_pri_request_page(&buses[0], iommu, DEVFN, 1, false,
                                            false, 0, true, 3, true, false),
                     -ENODEV);
    amdvi_pri_unregister_notifier(&buses[0], iommu, DEVFN, 1);
    complete(DEVID, 1, 3, 0);
    amdvi_pri_drain(iommu);
    iommu->pri = pri;
    tear_down();
}

/* 2.4.7: response codes; reserved ones mean failure (PCIe 5.0, 10.4.2.1) */
static void test_codes(void **state)
{
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    for (unsigned code = 0; code < 16; code++) {
        IOMMUPRIResponseCode want = MIN(code, IOMMU_PRI_RESP_FAILURE);
        unsigned before = user.answers[want];

        assert_int_equal(user_request(&user, 0x1ff), 0);
        complete(DEVID, 1, 0x1ff, code);
        assert_int_equal(user.answers[want], before + 1);
        reset_function(functions[0]);
    }
    user_exit(&user);
    tear_down();
}

/* 2.4.7: a response reaches its device and PASID only */
static void test_addressee(void **state)
{
    User users[2];

    set_up();
    user_init(&users[0], functions[0], 1);
    user_init(&users[1], functions[1], 1);
    assert_int_equal(user_request(&users[0], 3), 0);
    assert_int_equal(user_request(&users[1], 3), 0);
    complete(DEVID, 2, 3, 0);
    complete(DEVID + 1, 1, 3, 0);
    assert_int_equal(user_answers(&users[0]) + user_answers(&users[1]), 0);
    complete(DEVID + 0x100, 1, 3, 0);
    assert_int_equal(user_answers(&users[0]), 0);
    assert_int_equal(user_answers(&users[1]), 1);
    complete(DEVID, 1, 3, 0);
    assert_int_equal(user_answers(&users[0]), 1);
    assert_int_equal(function_status(functions[0]), 0);
    user_exit(&users[0]);
    user_exit(&users[1]);
    tear_down();
}

/*
 * GN = 0: Linux's driver responds so to requests with PASID (7.3: in identity
 * domains; 6.12: unless PRG Response PASID Required is set)
 */
static void test_no_pasid(void **state)
{
    User users[3];

    set_up();
    user_init(&users[0], functions[0], 1);
    user_init(&users[1], functions[0], 2);
    user_init(&users[2], functions[0], PCI_NO_PASID);
    assert_int_equal(user_request(&users[1], 3), 0);
    complete(DEVID, PCI_NO_PASID, 3, 1);
    assert_int_equal(users[1].answers[IOMMU_PRI_RESP_INVALID_REQUEST], 1);
    /* A request without PASID that has the same index comes first. */
    assert_int_equal(user_request(&users[0], 3), 0);
    assert_int_equal(user_request(&users[2], 3), 0);
    complete(DEVID, PCI_NO_PASID, 3, 0);
    assert_int_equal(users[2].answers[IOMMU_PRI_RESP_SUCCESS], 1);
    complete(DEVID, PCI_NO_PASID, 3, 0);
    assert_int_equal(users[0].answers[IOMMU_PRI_RESP_SUCCESS], 1);
    assert_int_equal(function_status(functions[0]), 0);
    complete(DEVID, PCI_NO_PASID, 3, 0);
    assert_int_equal(function_status(functions[0]), PCI_PRI_STATUS_UPRGI);
    /* No function, and none with a notifier */
    complete(DEVID + 1, PCI_NO_PASID, 3, 0);
    complete(DEVID + 0x100, PCI_NO_PASID, 3, 0);
    for (int i = 0; i < ARRAY_SIZE(users); i++) {
        user_exit(&users[i]);
    }
    complete(DEVID, PCI_NO_PASID, 3, 0);
    tear_down();
}

/* Linux 7.3 responds with PASID 0 to requests without PASID (v2 tables) */
static void test_pasid_0(void **state)
{
    User none, zero;

    set_up();
    user_init(&none, functions[0], PCI_NO_PASID);
    assert_int_equal(user_request(&none, 3), 0);
    complete(DEVID, 0, 3, 2);
    assert_int_equal(none.answers[IOMMU_PRI_RESP_FAILURE], 1);
    reset_function(functions[0]);
    user_init(&zero, functions[0], 0);
    assert_int_equal(user_request(&zero, 3), 0);
    complete(DEVID, 0, 3, 0);
    assert_int_equal(zero.answers[IOMMU_PRI_RESP_SUCCESS], 1);
    assert_int_equal(user_answers(&none), 1);
    user_exit(&none);
    user_exit(&zero);
    tear_down();
}

/* ---- Threads ---- */

/* Outstanding groups of a user; all users together overflow the log */
#define GROUPS      64
#define ROUNDS      4000

static unsigned users_running;

static void user_wait(User *user, uint16_t prgi)
{
    qemu_mutex_lock(&user->lock);
    while (qatomic_read(&user->open[prgi])) {
        qemu_cond_wait(&user->answered, &user->lock);
    }
    qemu_mutex_unlock(&user->lock);
}

static void *user_thread(void *opaque)
{
    User *user = opaque;
    int sent = 0;

    rcu_register_thread();
    while (sent < ROUNDS) {
        uint16_t prgi = sent % GROUPS;

        user_wait(user, prgi);
        if (!user_request(user, prgi)) {
            sent++;
        }
    }
    for (int i = 0; i < GROUPS; i++) {
        user_wait(user, i);
    }
    g_assert_cmpint(user_answers(user), ==, ROUNDS);
    qatomic_dec(&users_running);
    rcu_unregister_thread();
    return NULL;
}

static void guest_answer(GRand *rnd, const uint64_t entry[2])
{
    uint16_t devid = extract64(entry[0], 0, 16);
    uint32_t pasid = extract64(entry[0], 16, 16);
    uint16_t prgi = extract64(entry[0], 32, 9);
    unsigned code = g_rand_int_range(rnd, 0, 2);

    g_assert_cmphex(entry[1], ==, (uint64_t)prgi << 12);
    switch (g_rand_int_range(rnd, 0, 16)) {
    case 0:
        /* No response */
        return;
    case 1:
        complete(devid, pasid, prgi, code);
        break;
    case 2:
        complete(devid ^ 0x100, pasid, prgi ^ 0x100, code);
        break;
    case 3:
        complete(devid, pasid ^ 3, prgi ^ 0x100, code);
        break;
    case 4:
        amdvi_pri_drain(iommu);
        break;
    }
    complete(devid, pasid, prgi, code);
}

/* Makes one part of the configuration invalid for a short time */
static void guest_configure(GRand *rnd)
{
    switch (g_rand_int_range(rnd, 0, 6)) {
    case 0:
        write_base((LOG + LOG_SIZE) | LENGTH);
        break;
    case 1:
        write_base(LOG | g_rand_int_range(rnd, 0, 8) * (1ull << 56));
        break;
    case 2:
        qatomic_set(&table.page_requests, false);
        break;
    case 3:
        qatomic_set(&table.enabled, false);
        break;
    case 4:
        write_control(g_rand_int(rnd));
        break;
    case 5:
        qatomic_set(&table.fault, AMDVI_FAULT_NO_GUEST);
        break;
    }
    g_usleep(50);
    write_base(LOG | LENGTH);
    write_control(CONTROL);
    qatomic_set(&table.page_requests, true);
    qatomic_set(&table.enabled, true);
    qatomic_set(&table.fault, AMDVI_FAULT_NONE);
}

static void guest_round(GRand *rnd)
{
    uint64_t entry[2];

    if (!g_rand_int_range(rnd, 0, 64)) {
        /* Pause until the log overflows. */
        g_usleep(5000);
    }
    while (take(entry)) {
        guest_answer(rnd, entry);
        if (!g_rand_int_range(rnd, 0, 4)) {
            break;
        }
    }
    if (!(read_reg(AMDVI_MMIO_STATUS) & RUN)) {
        amdvi_ppr_write_status(iommu, OVERFLOW | INT);
        write_control(CONTROL);
    }
    if (!g_rand_int_range(rnd, 0, 32)) {
        guest_configure(rnd);
    }
    /* Now and then, a reset ends the groups that got no response. */
    if (!g_rand_int_range(rnd, 0, 32)) {
        reset_function(functions[g_rand_int_range(rnd, 0, FUNCTIONS)]);
    }
}

/* Every group gets one response, whatever the guest does */
static void test_stress(void **state)
{
    g_autoptr(GRand) rnd = g_rand_new_with_seed(env_seed("PRI_TEST_SEED"));
    User users[FUNCTIONS * PASIDS];
    QemuThread threads[FUNCTIONS * PASIDS];

    set_up();
    users_running = ARRAY_SIZE(users);
    for (int i = 0; i < ARRAY_SIZE(users); i++) {
        user_init(&users[i], functions[i / PASIDS], 1 + i % PASIDS);
        qemu_thread_create(&threads[i], "user", user_thread, &users[i],
                           QEMU_THREAD_JOINABLE);
    }
    while (qatomic_read(&users_running)) {
        guest_round(rnd);
        main_loop_wait(true);
    }
    for (int i = 0; i < ARRAY_SIZE(users); i++) {
        qemu_thread_join(&threads[i]);
        user_exit(&users[i]);
    }
    tear_down();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry),
        cmocka_unit_test(test_invalid_event),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_bad_entry),
        cmocka_unit_test(test_no_tables),
        cmocka_unit_test(test_disabled),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_not_announced),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_addressee),
        cmocka_unit_test(test_no_pasid),
        cmocka_unit_test(test_pasid_0),
        cmocka_unit_test(test_stress),
    };
    static MemReentrancyGuard guard;

    module_call_init(MODULE_INIT_QOM);
    qemu_init_main_loop(&error_abort);
    bql_lock();
    iommu = g_new0(AMDVIState, 1);
    amdvi_ppr_init(iommu, &guard);
    amdvi_pri_init(iommu);
    bql_unlock();
    return cmocka_run_group_tests_name("amd-iommu-pri", tests, NULL, NULL);
}
