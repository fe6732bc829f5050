/*
 * Unit tests of VT-d page requests between functions and a guest
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/pci/pcie_pri.c, hw/i386/intel_iommu_pri.c and
 * hw/i386/intel_iommu_prq.c together, between fake functions with their own
 * threads, and a fake guest that responds slowly, wrongly, twice or never.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
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
#include "hw/pci/msi.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci-internal.h"
#include "system/runstate.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_ats.h"
#include "hw/i386/intel_iommu_pri.h"
#include "hw/i386/intel_iommu_prq.h"
#include "hw/i386/intel_iommu_resolve.h"
#include "fake-pci.h"
#include "test-random.h"

#define CAP         FAKE_PCI_CAP
#define QUEUE       0x10000ull
#define QUEUE_SIZE  0x1000
#define DEVFN       0x20
#define PASIDS      2           /* PASIDs of each function, from 1 on */
#define FUNCTIONS   3

/* ---- Replacements for functions that the code under test calls ---- */

static PCIBus buses[FUNCTIONS];

int pci_bus_num(PCIBus *bus)
{
    return 1 + (bus - buses);
}

static void run_main_loop(void)
{
    g_assert_true(bql_locked());
    main_loop_wait(true);
}

static VMChangeStateHandler *vm_changed;
static void *vm_changed_opaque;

VMChangeStateEntry *qemu_add_vm_change_state_handler(VMChangeStateHandler *cb,
                                                     void *opaque)
{
    vm_changed = cb;
    vm_changed_opaque = opaque;
    return NULL;
}

static unsigned interrupts;
static MSIMessage last_msi;

void vtd_send_msi(MSIMessage *msi)
{
    g_assert_true(bql_locked());
    last_msi = *msi;
    interrupts++;
}

/* A PASID whose table entry is not present; 0 for none */
static uint32_t dead_pasid;
static bool enabled;

bool vtd_resolver_enabled(const VTDResolver *r)
{
    return qatomic_read(&enabled);
}

const VTDTarget *vtd_resolve(VTDResolver *r, uint16_t sid, uint32_t pasid,
                             VTDAddressType at, VTDTarget *scratch)
{
    g_assert_cmpint(at, ==, VTD_AT_PAGE_REQUEST);
    *scratch = (VTDTarget) {
        .fault = qatomic_read(&dead_pasid) == pasid ? VTD_FR_PASID_ENTRY_P : 0,
    };
    return scratch;
}

void vtd_fault_report_unless(IntelIOMMUState *s, const VTDFault *fault,
                             bool fpd)
{
    g_assert_cmpint(fault->reason, ==, VTD_FR_PASID_ENTRY_P);
}

static uint64_t memory[QUEUE_SIZE / 8];

bool iommu_ram_write(const IOMMURam *ram, hwaddr addr, const uint64_t *val,
                     unsigned n)
{
    if (addr < QUEUE || addr >= QUEUE + QUEUE_SIZE) {
        return false;
    }
    memcpy(&memory[(addr - QUEUE) / 8], val, n * 8);
    return true;
}

/* ---- The IOMMU and the functions ---- */

static const PCIIOMMUOps ops = {
    .pri_register_notifier = vtd_pri_register_notifier,
    .pri_unregister_notifier = vtd_pri_unregister_notifier,
    .pri_request_page = vtd_pri_request_page,
};

static IntelIOMMUState *iommu;
static PCIDevice *functions[FUNCTIONS];

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

static void write_alloc(PCIDevice *dev, uint32_t val)
{
    fake_pci_write(dev, CAP + PCI_PRI_ALLOC_REQ, val, 4);
    pcie_pri_write_config(dev, CAP + PCI_PRI_ALLOC_REQ, val, 4);
}

static PCIDevice *function_new(PCIBus *bus)
{
    PCIDevice *dev = fake_pci_new(NULL, &ops);

    dev->iommu.opaque = iommu;
    dev->iommu.bus = bus;
    dev->iommu.devfn = DEVFN;
    pcie_pri_init(dev, CAP, 512, true);
    write_alloc(dev, 512);
    reset_function(dev);
    return dev;
}

static void function_free(PCIDevice *dev)
{
    pcie_pri_exit(dev);
    fake_pci_free(dev);
}

static void set_up(void)
{
    bql_lock();
    vtd_pri_reset(iommu->pri);
    enabled = true;
    interrupts = 0;
    dead_pasid = 0;
    vtd_pri_reg_write(iommu, DMAR_PQA_REG, QUEUE, 8);
    vtd_pri_reg_write(iommu, DMAR_PEDATA_REG, 0x41, 4);
    for (int i = 0; i < FUNCTIONS; i++) {
        functions[i] = function_new(&buses[i]);
    }
}

static void tear_down(void)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        function_free(functions[i]);
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
    /* A reset may end a group between two of its requests */
    bool in_parts;
    unsigned answers[3];
} User;

static void user_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    User *user = container_of(n, User, notifier);

    qatomic_inc(&user->answers[response->response_code]);
    /* Each group gets one response; waiting threads count the responses. */
    g_assert_true(qatomic_xchg(&user->open[response->prgi], false) ||
                  user->in_parts);
    qemu_mutex_lock(&user->lock);
    qemu_cond_signal(&user->answered);
    qemu_mutex_unlock(&user->lock);
}

static void user_register(User *user)
{
    qemu_mutex_init(&user->lock);
    qemu_cond_init(&user->answered);
    g_assert_cmpint(pci_pri_register_notifier(user->dev, user->pasid,
                                              &user->notifier), ==, 0);
}

static void user_init(User *user, PCIDevice *dev, uint32_t pasid)
{
    *user = (User) {
        .notifier.notify = user_notify,
        .dev = dev,
        .pasid = pasid,
    };
    user_register(user);
}

static void user_exit(User *user)
{
    pci_pri_unregister_notifier(user->dev, user->pasid);
    qemu_cond_destroy(&user->answered);
    qemu_mutex_destroy(&user->lock);
}

static int user_send(User *user, uint16_t prgi, bool last)
{
    return pci_pri_request_page(user->dev, user->pasid, false, false,
                                (uint64_t)prgi << 12, last, prgi, true, false);
}

/* Sends a group of one request */
static int user_request(User *user, uint16_t prgi)
{
    int ret;

    g_assert_false(qatomic_xchg(&user->open[prgi], true));
    ret = user_send(user, prgi, true);
    if (ret) {
        /* After an error there is no response. */
        g_assert_true(qatomic_xchg(&user->open[prgi], false));
    }
    return ret;
}

/* ---- The guest ---- */

static void respond(uint16_t sid, uint32_t pasid, uint16_t prgi, unsigned code)
{
    const uint64_t desc[4] = {
        VTD_INV_DESC_PAGE_RESPONSE | VTD_INV_DESC_PAGE_RESP_PP | code << 12 |
        (uint64_t)sid << 16 | (uint64_t)pasid << 32,
        (uint64_t)prgi << 3,
    };

    g_assert_true(vtd_pri_group_response(iommu, desc));
}

/* Takes the next descriptor; returns false if there is none */
static bool take(uint16_t *sid, uint32_t *pasid, uint16_t *prgi, bool *last)
{
    uint64_t head = vtd_pri_reg_read(iommu, DMAR_PQH_REG, 8);
    uint64_t tail = vtd_pri_reg_read(iommu, DMAR_PQT_REG, 8);
    const uint64_t *desc = &memory[head / 8];

    if (head == tail) {
        return false;
    }
    *sid = extract64(desc[0], 16, 16);
    *pasid = extract64(desc[0], 32, 20);
    *prgi = extract64(desc[1], 3, 9);
    *last = desc[1] & VTD_PAGE_REQ_LPIG;
    g_assert_cmphex(desc[1] & ~0xfffull, ==, (uint64_t)*prgi << 12);
    vtd_pri_reg_write(iommu, DMAR_PQH_REG, (head + 32) % QUEUE_SIZE, 8);
    return true;
}

/* ---- Tests ---- */

/* 7.5: a thread that does not hold the BQL leaves the event to the main loop */
static void *event_thread(void *opaque)
{
    g_assert_false(bql_locked());
    g_assert_cmpint(user_request(opaque, 1), ==, 0);
    return NULL;
}

static void test_event(void **state)
{
    QemuThread thread;
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    vtd_pri_reg_write(iommu, DMAR_PECTL_REG, 0, 4);
    qemu_thread_create(&thread, "event", event_thread, &user,
                       QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    assert_int_equal(interrupts, 0);
    run_main_loop();
    assert_int_equal(interrupts, 1);
    assert_int_equal(last_msi.data, 0x41);
    run_main_loop();
    assert_int_equal(interrupts, 1);

    /*
     * A read of the status sends the event, too (7.5).  Then the main loop
     * finds no event.
     */
    vtd_pri_reg_write(iommu, DMAR_PRS_REG, VTD_PRS_PPR, 4);
    respond(PCI_BUILD_BDF(1, DEVFN), 1, 1, VTD_PAGE_RESP_SUCCESS);
    qemu_thread_create(&thread, "event", event_thread, &user,
                       QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    assert_int_equal(vtd_pri_reg_read(iommu, DMAR_PRS_REG, 4), VTD_PRS_PPR);
    assert_int_equal(interrupts, 2);
    run_main_loop();
    assert_int_equal(interrupts, 2);
    respond(PCI_BUILD_BDF(1, DEVFN), 1, 1, VTD_PAGE_RESP_SUCCESS);
    user_exit(&user);
    tear_down();
}

/* One of several functions with the same source id can register per PASID */
static void test_shared_source(void **state)
{
    PCIDevice *other;
    User user, second;

    set_up();
    other = function_new(&buses[0]);
    user_init(&user, functions[0], 1);
    second = user;
    assert_int_equal(pci_pri_register_notifier(other, 1, &second.notifier),
                     -EBUSY);
    user_exit(&user);
    user_init(&second, other, 1);
    user_exit(&second);
    function_free(other);
    tear_down();
}

/* 11.4.3: an IOMMU without ECAP.PRS accepts no page requests */
static void test_not_announced(void **state)
{
    uint64_t ecap = iommu->ecap;
    User user, second;

    set_up();
    user_init(&user, functions[0], 1);
    second = user;
    iommu->ecap = 0;
    assert_int_equal(user_request(&user, 1), -ENODEV);
    assert_int_equal(pcie_pri_outstanding(functions[0]), 0);
    second.pasid = 2;
    assert_int_equal(pci_pri_register_notifier(functions[0], 2,
                                               &second.notifier), -ENODEV);
    assert_false(vtd_pri_has_reg(iommu, DMAR_PQH_REG));
    iommu->ecap = ecap;
    assert_true(vtd_pri_has_reg(iommu, DMAR_PQH_REG));
    user_exit(&user);
    tear_down();
}

/* 7.4.1, 7.6.1: the IOMMU ignores responses without a registered notifier */
static void test_no_notifier(void **state)
{
    PCIBus *bus = &buses[0];

    set_up();
    vtd_pri_unregister_notifier(bus, iommu, DEVFN, 1);
    vtd_pri_reg_write(iommu, DMAR_PQA_REG, 0, 8);
    assert_int_equal(vtd_pri_request_page(bus, iommu, DEVFN, 1, false, false, 0,
                                          true, 3, true, false), 0);
    respond(PCI_BUILD_BDF(1, DEVFN), 1, 3, VTD_PAGE_RESP_SUCCESS);
    tear_down();
}

/* 7.6.1: reserved response codes mean failure */
static void test_response_codes(void **state)
{
    User user;

    set_up();
    user_init(&user, functions[0], 1);
    for (unsigned code = 2; code < 16; code++) {
        assert_int_equal(user_request(&user, 1), 0);
        respond(PCI_BUILD_BDF(1, DEVFN), 1, 1, code);
        reset_function(functions[0]);
    }
    assert_int_equal(user.answers[IOMMU_PRI_RESP_FAILURE], 14);
    user_exit(&user);
    tear_down();
}

/* A notifier that sends page requests, and at last unregisters itself */
typedef struct Again {
    User user;
    unsigned left;
} Again;

static void again_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    Again *again = container_of(n, Again, user.notifier);

    user_notify(n, response);
    if (!again->left--) {
        user_exit(&again->user);
        return;
    }
    g_assert_cmpint(user_request(&again->user, response->prgi), ==, 0);
}

static void test_reentrant(void **state)
{
    Again again = { .left = 10 };

    set_up();
    user_init(&again.user, functions[0], 1);
    again.user.notifier.notify = again_notify;
    /* The IOMMU responds at once, since there is no queue. */
    vtd_pri_reg_write(iommu, DMAR_PQA_REG, 0, 8);
    assert_int_equal(user_request(&again.user, 3), 0);
    assert_int_equal(again.user.answers[IOMMU_PRI_RESP_INVALID_REQUEST], 11);
    /* The guest responds. */
    vtd_pri_reg_write(iommu, DMAR_PQA_REG, QUEUE, 8);
    again.left = 10;
    user_register(&again.user);
    assert_int_equal(user_request(&again.user, 3), 0);
    for (int i = 0; i < 11; i++) {
        respond(PCI_BUILD_BDF(1, DEVFN), 1, 3, VTD_PAGE_RESP_SUCCESS);
    }
    assert_int_equal(again.user.answers[IOMMU_PRI_RESP_SUCCESS], 11);
    tear_down();
}

/* ---- Stress ---- */

/* Outstanding groups of a user; all users together overflow the queue */
#define GROUPS      32
#define ROUNDS      2000

static unsigned users_running;

static void user_wait(User *user, uint16_t prgi)
{
    qemu_mutex_lock(&user->lock);
    while (qatomic_read(&user->open[prgi])) {
        qemu_cond_wait(&user->answered, &user->lock);
    }
    qemu_mutex_unlock(&user->lock);
}

static void user_wait_all(User *user)
{
    for (int i = 0; i < GROUPS; i++) {
        user_wait(user, i);
    }
}

/* Sends a group of two requests; the IOMMU may drop only the first one */
static void user_send_two(User *user, uint16_t prgi)
{
    int ret;

    ret = user_send(user, prgi, false);
    g_assert_true(!ret || ret == -ENOSPC || ret == -EFAULT || ret == -EPERM);
    qatomic_set(&user->open[prgi], true);
    ret = user_send(user, prgi, true);
    if (ret) {
        g_assert_cmpint(ret, ==, -EPERM);
        qatomic_set(&user->open[prgi], false);
    }
}

/* Sends many groups of one request each; each gets a response */
static void user_send_single(User *user)
{
    unsigned answers = 0;

    for (int sent = 0; sent < ROUNDS;) {
        uint16_t prgi = sent % GROUPS;

        user_wait(user, prgi);
        if (!user_request(user, prgi)) {
            sent++;
        }
        if (!qatomic_read(&user->open[prgi])) {
            /* The IOMMU has responded: give the guest time to repair it. */
            g_usleep(10);
        }
        if (sent % 500 == 499) {
            user_wait_all(user);
            user_exit(user);
            user_register(user);
        }
    }
    user_wait_all(user);
    for (int i = 0; i < ARRAY_SIZE(user->answers); i++) {
        answers += qatomic_read(&user->answers[i]);
    }
    g_assert_cmpint(answers, ==, ROUNDS);
}

static void *user_thread(void *opaque)
{
    User *user = opaque;

    rcu_register_thread();
    user_send_single(user);
    user->in_parts = true;
    for (int i = 0; i < ROUNDS / 4; i++) {
        user_send_two(user, i % GROUPS);
        user_wait_all(user);
    }
    user_exit(user);
    qatomic_dec(&users_running);
    rcu_unregister_thread();
    return NULL;
}

static void guest_answer(GRand *rnd, uint16_t sid, uint32_t pasid,
                         uint16_t prgi)
{
    unsigned code = g_rand_int_range(rnd, 0, 2);

    switch (g_rand_int_range(rnd, 0, 16)) {
    case 0:
        /* No response */
        return;
    case 1:
        respond(sid, pasid, prgi, code);
        respond(sid, pasid, prgi, code);
        return;
    case 2:
        respond(sid ^ 0x100, pasid, prgi, code);
        return;
    case 3:
        respond(sid, pasid ^ 3, prgi, code);
        return;
    case 4:
        respond(sid, pasid, prgi ^ 0x1f0, code);
        return;
    case 5:
        g_usleep(g_rand_int_range(rnd, 0, 200));
        break;
    }
    respond(sid, pasid, prgi, code);
}

/* Makes one part of the configuration invalid for a short time */
static void guest_configure(GRand *rnd)
{
    switch (g_rand_int_range(rnd, 0, 6)) {
    case 0:
        vtd_pri_reg_write(iommu, DMAR_PQA_REG, 0, 8);
        break;
    case 1:
        vtd_pri_reg_write(iommu, DMAR_PQA_REG, 1ull << 40, 8);
        break;
    case 2:
        qatomic_set(&dead_pasid, g_rand_int_range(rnd, 1, PASIDS + 1));
        break;
    case 3:
        qatomic_set(&enabled, false);
        break;
    case 4:
        vtd_pri_reg_write(iommu, DMAR_PECTL_REG, g_rand_int(rnd), 4);
        break;
    case 5:
        vtd_pri_drain(iommu);
        break;
    }
    g_usleep(50);
    vtd_pri_reg_write(iommu, DMAR_PQA_REG, QUEUE, 8);
    qatomic_set(&dead_pasid, 0);
    qatomic_set(&enabled, true);
}

static void guest_round(GRand *rnd)
{
    uint32_t pasid;
    uint16_t sid, prgi;
    bool last;

    if (!g_rand_int_range(rnd, 0, 64)) {
        /* Pause until the queue overflows. */
        g_usleep(5000);
    }
    while (take(&sid, &pasid, &prgi, &last)) {
        if (last) {
            guest_answer(rnd, sid, pasid, prgi);
        }
        if (!g_rand_int_range(rnd, 0, 4)) {
            break;
        }
    }
    vtd_pri_reg_write(iommu, DMAR_PRS_REG, g_rand_int_range(rnd, 0, 4), 4);
    if (!g_rand_int_range(rnd, 0, 32)) {
        guest_configure(rnd);
    }
    /* Now and then, a reset ends the groups that got no response. */
    if (!g_rand_int_range(rnd, 0, 32)) {
        reset_function(functions[g_rand_int_range(rnd, 0, FUNCTIONS)]);
    }
}

static void test_stress(void **state)
{
    QemuThread threads[FUNCTIONS * PASIDS];
    User users[FUNCTIONS * PASIDS];
    GRand *rnd = g_rand_new_with_seed(env_seed("PRI_TEST_SEED"));

    set_up();
    users_running = FUNCTIONS * PASIDS;
    for (int i = 0; i < FUNCTIONS * PASIDS; i++) {
        user_init(&users[i], functions[i / PASIDS], 1 + i % PASIDS);
        qemu_thread_create(&threads[i], "user", user_thread, &users[i],
                           QEMU_THREAD_JOINABLE);
    }
    while (qatomic_read(&users_running)) {
        run_main_loop();
        guest_round(rnd);
        bql_unlock();
        g_thread_yield();
        bql_lock();
    }
    for (int i = 0; i < FUNCTIONS * PASIDS; i++) {
        qemu_thread_join(&threads[i]);
    }
    for (int i = 0; i < FUNCTIONS; i++) {
        reset_function(functions[i]);
        assert_int_equal(pcie_pri_outstanding(functions[i]), 0);
    }
    tear_down();
    g_rand_free(rnd);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event),
        cmocka_unit_test(test_shared_source),
        cmocka_unit_test(test_not_announced),
        cmocka_unit_test(test_no_notifier),
        cmocka_unit_test(test_response_codes),
        cmocka_unit_test(test_reentrant),
        cmocka_unit_test(test_stress),
    };

    module_call_init(MODULE_INIT_QOM);
    bql_lock();
    qemu_init_main_loop(&error_abort);
    /* Lives as long as the machine */
    iommu = g_new0(IntelIOMMUState, 1);
    iommu->ecap = VTD_ECAP_PRS | VTD_ECAP_PDS;
    iommu->aw_bits = 48;
    iommu->iq_dw = true;
    iommu->resolver = g_new0(VTDResolver, 1);
    iommu->pri = vtd_pri_new(iommu);
    bql_unlock();
    return cmocka_run_group_tests_name("intel-iommu-pri", tests, NULL, NULL);
}
