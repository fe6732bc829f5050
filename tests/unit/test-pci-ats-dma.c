/*
 * Unit tests for the DMA of device models with ATS
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/pci/pci_ats_dma.c and the other files of the engine, with the real ATC,
 * between a fake function, a fake IOMMU with one page table for all PASIDs, and
 * a fake guest that responds to page requests in its own thread.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci-internal.h"
#include "hw/pci/pcie_pri_requester.h"
#include "fake-bql.h"

#define PAGE            4096
#define NR_PAGES        64
#define RAM_SIZE        (NR_PAGES * PAGE)
/* Input address of page 0; page 16 begins another unit of the largest STU */
#define STU_MAX         43
#define IOVA            ((1ULL << STU_MAX) - 16 * PAGE)
#define MMIO            0xf0000000ULL
#define MAX_PASIDS      512

/* ---- Fake memory ---- */

static uint8_t ram[RAM_SIZE];
static MemoryRegion ram_mr = { .ram = true };
static MemoryRegion mmio_mr;
static int untranslated_accesses;
/* Number of threads between pci_untranslated_begin() and _end() */
static int untranslated_users;

unsigned pci_untranslated_begin(PCIDevice *dev)
{
    qatomic_inc(&untranslated_users);
    return 7;
}

void pci_untranslated_end(PCIDevice *dev, unsigned token)
{
    assert_int_equal(token, 7);
    qatomic_dec(&untranslated_users);
}

/* Address of the last call of pci_untranslated_blocked() */
static hwaddr blocked_addr;
static bool blocked_write;

void pci_untranslated_blocked(PCIDevice *dev, dma_addr_t addr, bool is_write)
{
    assert_int_not_equal(qatomic_read(&untranslated_users), 0);
    blocked_addr = addr;
    blocked_write = is_write;
}

MemoryRegion *flatview_translate(FlatView *fv, hwaddr addr, hwaddr *xlat,
                                 hwaddr *len, bool is_write, MemTxAttrs attrs)
{
    if (attrs.address_type == PCI_AT_UNTRANSLATED) {
        assert_int_not_equal(qatomic_read(&untranslated_users), 0);
        untranslated_accesses++;
        addr -= IOVA;
    }
    if (addr >= RAM_SIZE) {
        return &mmio_mr;
    }
    *xlat = addr;
    *len = MIN(*len, RAM_SIZE - addr);
    return &ram_mr;
}

bool memory_region_is_ram_device(MemoryRegion *mr)
{
    return false;
}

void *qemu_map_ram_ptr(RAMBlock *block, ram_addr_t addr)
{
    return ram + addr;
}

void memory_region_ref(MemoryRegion *mr)
{
}

void address_space_unmap(AddressSpace *as, void *buffer, hwaddr len,
                         bool is_write, hwaddr access_len)
{
}

AddressSpace *pci_pasid_target(PCIDevice *dev, uint32_t pasid, bool priv_req,
                               bool exec_req, dma_addr_t addr, bool is_write,
                               dma_addr_t *xlat, dma_addr_t *len)
{
    assert_int_not_equal(qatomic_read(&untranslated_users), 0);
    untranslated_accesses++;
    return NULL;
}

/* ---- Fake function ---- */

static PCIDevice device;
/* pci_ats_dma_close() has returned: the engine does not use the function */
static bool gone;
/* The IOMMU blocks translated requests */
static bool blocked;
static bool thread_safe;
static bool ats_on;
static bool pri_on;
static bool loaded_groups;
static int loaded_questions;
static bool master_on;
static uint32_t allocation;
static unsigned stu;
static uint32_t epoch;

AddressSpace *pci_translated_target(PCIDevice *dev, dma_addr_t addr,
                                    dma_addr_t len, bool is_write)
{
    return blocked ? NULL : pci_get_address_space(dev);
}

bool pci_iommu_is_thread_safe(const PCIDevice *dev)
{
    assert(!qatomic_read(&gone));
    return thread_safe;
}

bool pcie_bus_master_enabled(const PCIDevice *dev)
{
    assert(!qatomic_read(&gone));
    return master_on;
}

bool pcie_ats_enabled(const PCIDevice *dev)
{
    assert(!qatomic_read(&gone));
    return ats_on;
}

bool pcie_pri_enabled(const PCIDevice *dev)
{
    assert(!qatomic_read(&gone));
    return qatomic_read(&pri_on);
}

uint32_t pcie_pri_get_req_alloc(const PCIDevice *dev)
{
    return allocation;
}

bool pcie_pri_has_loaded_groups(const PCIDevice *dev, uint32_t pasid)
{
    assert(!qatomic_read(&gone));
    qatomic_inc(&loaded_questions);
    return pasid == 1 && qatomic_read(&loaded_groups);
}

unsigned pcie_ats_stu(const PCIDevice *dev)
{
    return stu;
}

uint32_t pcie_ats_epoch(const PCIDevice *dev)
{
    return epoch;
}

uint16_t pci_requester_id(PCIDevice *dev)
{
    return 0x20;
}

int pci_iommu_check_pasid(const PCIDevice *dev, uint32_t pasid, bool priv_req,
                          bool exec_req)
{
    return 0;
}

/* ---- Fake IOMMU ---- */

typedef struct Pte {
    IOMMUAccessFlags perm;
    hwaddr target;
} Pte;

static QemuMutex iommu_lock;
static Pte ptes[NR_PAGES];
static IOMMUNotifier *iotlb_notifier;
static IOMMUPRINotifier *pri_notifiers[MAX_PASIDS];
static int translations;
static int register_error, translation_error;
/* Called after the page walk, before the translation request returns */
static void (*answer_hook)(void);

int pci_iommu_init_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n,
                                  IOMMUNotify fn, void *opaque)
{
    n->notify = fn;
    n->opaque = opaque;
    return 0;
}

int pci_iommu_register_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n)
{
    QEMU_LOCK_GUARD(&iommu_lock);
    if (register_error) {
        return register_error;
    }
    assert(!iotlb_notifier);
    iotlb_notifier = n;
    return 0;
}

void pci_iommu_unregister_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n)
{
    QEMU_LOCK_GUARD(&iommu_lock);
    assert(iotlb_notifier == n);
    iotlb_notifier = NULL;
}

static ssize_t walk(uint32_t pasid, hwaddr addr, size_t length,
                    IOMMUTLBEntry *result, size_t result_length)
{
    hwaddr page = addr & ~(hwaddr)(PAGE - 1);
    size_t n;

    QEMU_LOCK_GUARD(&iommu_lock);
    for (n = 0; page <= addr + (length - 1); n++, page += PAGE) {
        const Pte *pte = &ptes[(page - IOVA) / PAGE];

        if (n == result_length) {
            return -ENOMEM;
        }
        assert(page >= IOVA);
        assert(page < IOVA + RAM_SIZE);
        result[n] = (IOMMUTLBEntry) {
            .iova = page,
            .translated_addr = pte->target,
            .addr_mask = PAGE - 1,
            .perm = pte->perm,
            .pasid = pasid,
        };
    }
    return n;
}

ssize_t pci_ats_request_translation(PCIDevice *dev, uint32_t pasid,
                                    bool priv_req, bool exec_req, hwaddr addr,
                                    size_t length, bool no_write,
                                    IOMMUTLBEntry *result, size_t result_length,
                                    uint32_t *err_count)
{
    ssize_t n = translation_error ?:
                walk(pasid, addr, length, result, result_length);

    qatomic_inc(&translations);
    if (answer_hook) {
        answer_hook();
    }
    return n;
}

static void map(unsigned page, hwaddr target, IOMMUAccessFlags perm)
{
    QEMU_LOCK_GUARD(&iommu_lock);
    ptes[page] = (Pte) { .target = target, .perm = perm };
}

static void invalidate(uint32_t pasid, unsigned page)
{
    IOMMUTLBEntry entry = {
        .iova = IOVA + page * PAGE,
        .addr_mask = PAGE - 1,
        .pasid = pasid,
    };

    /* As in real IOMMUs, the notifier is called with the IOMMU's lock held. */
    QEMU_LOCK_GUARD(&iommu_lock);
    if (iotlb_notifier) {
        iotlb_notifier->notify(iotlb_notifier, &entry);
    }
}

/* ---- Fake guest ---- */

typedef struct PageRequest {
    uint32_t pasid;
    hwaddr addr;
    uint16_t prgi;
    bool is_write;
    bool last;
} PageRequest;

static QemuMutex guest_lock;
static QemuCond guest_cond;
static PageRequest queue[1024];
static unsigned queue_head, queue_tail;
static unsigned unanswered, most_unanswered;
static int requests_seen;
/*
 * Numbers of page requests: that the queue accepts before it is full, that it
 * refuses because it is full, and to which the guest responds with Success
 * although it does not map the page
 */
static int accepted, refuse, lie;
/*
 * The guest does not respond to requests for @ignored_page, and refuses groups
 * with @refused_page
 */
static int ignored_page, refused_page;
static bool refused[PCI_PRGI_MAX + 1];
/* NULL, or a flag to set when the second request arrives */
static bool *set_in_group;
/* PRG index of the group whose request the guest ignored last */
static uint16_t ignored_prgi;
static IOMMUPRIResponseCode guest_answer;
/* The guest holds the BQL when it responds, as a vCPU does */
static bool guest_has_bql;
/* The guest accepts requests, but does not respond yet */
static bool guest_holds;
static bool guest_stop;
static QemuThread guest_thread;
/* The guest thread is in a notifier */
static bool guest_responds;
static QemuCond guest_responded;

/* The PASID of that notifier */
static uint32_t guest_responds_pasid;

/* ---- Fake Page Request capability: a ledger under @guest_lock ---- */

static PRILedger ledger;
static PRIPasid ledger_pasids[MAX_PASIDS];
static uint32_t resets;

int pcie_pri_register(PCIDevice *dev, uint32_t pasid,
                      IOMMUPRINotifier *notifier)
{
    QEMU_LOCK_GUARD(&guest_lock);
    assert(!pri_notifiers[pasid]);
    pri_notifiers[pasid] = notifier;
    return 0;
}

void pci_pri_unregister_notifier(PCIDevice *dev, uint32_t pasid)
{
    QEMU_LOCK_GUARD(&guest_lock);
    pri_notifiers[pasid] = NULL;
    pri_ledger_abandon_all(&ledger, &ledger_pasids[pasid]);
    /* Wait for a call in progress, unless this thread is in the call. */
    while (guest_responds && !qemu_thread_is_self(&guest_thread)) {
        qemu_cond_wait(&guest_responded, &guest_lock);
    }
}

bool pcie_pri_reserve(PCIDevice *dev, uint32_t pasid, void *owner, uint32_t *n,
                      PRIGroupRef *ref)
{
    assert(!qatomic_read(&gone));
    QEMU_LOCK_GUARD(&guest_lock);
    assert(pri_notifiers[pasid]);
    return pri_ledger_reserve(&ledger, &ledger_pasids[pasid], allocation, owner,
                              n, ref);
}

void pcie_pri_keep_last(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref)
{
    assert(!qatomic_read(&gone));
    QEMU_LOCK_GUARD(&guest_lock);
    pri_ledger_keep_last(&ledger, &ledger_pasids[pasid], ref);
}

bool pcie_pri_abandon(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref)
{
    assert(!qatomic_read(&gone));
    QEMU_LOCK_GUARD(&guest_lock);
    return pri_ledger_abandon(&ledger, &ledger_pasids[pasid], ref);
}

uint32_t pcie_pri_get_resets(const PCIDevice *dev)
{
    return qatomic_read(&resets);
}

uint32_t pcie_pri_get_room(const PCIDevice *dev)
{
    uint64_t used;

    QEMU_LOCK_GUARD(&guest_lock);
    used = (uint64_t)ledger.outstanding + ledger.kept;
    return allocation - MIN(allocation, used);
}

bool pcie_pri_is_busy(PCIDevice *dev, uint32_t pasid)
{
    QEMU_LOCK_GUARD(&guest_lock);
    return ledger_pasids[pasid].num_groups ||
           (guest_responds && guest_responds_pasid == pasid);
}

bool pcie_pri_has_to_settle(PCIDevice *dev, uint32_t pasid)
{
    assert(!qatomic_read(&gone));
    QEMU_LOCK_GUARD(&guest_lock);
    return (pasid == 1 && qatomic_read(&loaded_groups)) ||
           ledger_pasids[pasid].num[PRI_GROUP_ABANDONED];
}

/* For pci_ats_dma_flood() only, which this test does not cover */
int pci_pri_request_page(PCIDevice *dev, uint32_t pasid, bool priv_req,
                         bool exec_req, hwaddr addr, bool lpig, uint16_t prgi,
                         bool is_read, bool is_write)
{
    g_assert_not_reached();
}

int pcie_pri_send(PCIDevice *dev, uint32_t pasid, bool priv_req, bool exec_req,
                  hwaddr addr, bool last, const PRIGroupRef *ref,
                  bool is_write)
{
    assert(!qatomic_read(&gone));
    QEMU_LOCK_GUARD(&guest_lock);
    if (accepted) {
        accepted--;
    } else if (refuse) {
        refuse--;
        return -ENOSPC;
    }
    if (!pri_ledger_send_reserved(&ledger, &ledger_pasids[pasid], ref, last)) {
        return -EAGAIN;
    }
    if (qatomic_fetch_inc(&requests_seen) == 1 && set_in_group) {
        qatomic_set(set_in_group, true);
    }
    if ((addr - IOVA) / PAGE != ignored_page) {
        queue[queue_tail++ % ARRAY_SIZE(queue)] = (PageRequest) {
            pasid, addr, ref->prgi, is_write, last
        };
        most_unanswered = MAX(most_unanswered, ++unanswered);
        qemu_cond_signal(&guest_cond);
    } else {
        ignored_prgi = ref->prgi;
    }
    return 0;
}

/* Delivers a response of the guest.  Callable from any thread. */
static void deliver(uint32_t pasid, const IOMMUPRIResponse *response)
{
    PCIEPRIResponse r = { .response = *response };
    IOMMUPRINotifier *notifier;
    PRIEndedGroup ended = { };

    WITH_QEMU_LOCK_GUARD(&guest_lock) {
        pri_ledger_respond(&ledger, &ledger_pasids[pasid], response->prgi,
                           &ended);
        notifier = pri_notifiers[pasid];
    }
    r.owner = ended.owner;
    if (notifier) {
        notifier->notify(notifier, &r.response);
    }
}

/* 10.5.2.2: ends all groups of a PASID by reset.  Callable from any thread. */
static void reset_groups(uint32_t pasid)
{
    g_autofree PRIEndedGroup *ended = g_new(PRIEndedGroup, PCI_PRGI_MAX + 1);
    IOMMUPRINotifier *notifier;
    unsigned n;

    WITH_QEMU_LOCK_GUARD(&guest_lock) {
        qatomic_set(&resets, resets + 1);
        n = pri_ledger_drop(&ledger, &ledger_pasids[pasid], ended);
        notifier = pri_notifiers[pasid];
    }
    for (unsigned i = 0; i < n; i++) {
        PCIEPRIResponse r = {
            .response.response_code = IOMMU_PRI_RESP_FAILURE,
            .response.prgi = ended[i].prgi,
            .owner = ended[i].owner,
            .reset = true,
        };

        notifier->notify(notifier, &r.response);
    }
}

static void start_ledger(void)
{
    memset(&ledger, 0, sizeof(ledger));
    memset(ledger_pasids, 0, sizeof(ledger_pasids));
    pri_ledger_init(&ledger);
    for (unsigned i = 0; i < MAX_PASIDS; i++) {
        pri_pasid_init(&ledger_pasids[i], i);
    }
}

static void stop_ledger(void)
{
    for (unsigned i = 0; i < MAX_PASIDS; i++) {
        pri_ledger_drop(&ledger, &ledger_pasids[i], NULL);
    }
    pri_ledger_destroy(&ledger);
}

static void guest_respond(uint32_t pasid, const IOMMUPRIResponse *response)
{
    WITH_QEMU_LOCK_GUARD(&guest_lock) {
        guest_responds_pasid = pasid;
        guest_responds = true;
    }
    deliver(pasid, response);
    WITH_QEMU_LOCK_GUARD(&guest_lock) {
        guest_responds = false;
        qemu_cond_broadcast(&guest_responded);
    }
}

static void guest_handle(const PageRequest *rq)
{
    unsigned page = (rq->addr - IOVA) / PAGE;
    IOMMUPRIResponse response = {
        .prgi = rq->prgi,
        .response_code = guest_answer,
    };

    refused[rq->prgi] |= page == refused_page;
    if (rq->last && refused[rq->prgi]) {
        response.response_code = IOMMU_PRI_RESP_INVALID_REQUEST;
        refused[rq->prgi] = false;
    }
    if (lie) {
        lie--;
    } else if (page == refused_page) {
        ;
    } else if (guest_answer == IOMMU_PRI_RESP_SUCCESS) {
        map(page, page * PAGE, rq->is_write ? IOMMU_RW : IOMMU_RO);
    }
    WITH_QEMU_LOCK_GUARD(&guest_lock) {
        unanswered--;
    }
    if (rq->last && qatomic_read(&guest_has_bql)) {
        BQL_LOCK_GUARD();
        guest_respond(rq->pasid, &response);
    } else if (rq->last) {
        guest_respond(rq->pasid, &response);
    }
}

static void *guest(void *opaque)
{
    rcu_register_thread();
    qemu_mutex_lock(&guest_lock);
    while (!guest_stop) {
        if (queue_head == queue_tail || guest_holds) {
            qemu_cond_wait(&guest_cond, &guest_lock);
        } else {
            PageRequest rq = queue[queue_head++ % ARRAY_SIZE(queue)];

            qemu_mutex_unlock(&guest_lock);
            /* Let more requests arrive first. */
            g_usleep(1000);
            guest_handle(&rq);
            qemu_mutex_lock(&guest_lock);
        }
    }
    qemu_mutex_unlock(&guest_lock);
    rcu_unregister_thread();
    return NULL;
}

static void guest_hold(bool holds)
{
    QEMU_LOCK_GUARD(&guest_lock);
    guest_holds = holds;
    qemu_cond_signal(&guest_cond);
}

static void count_pasid(uint32_t pasid,
                        const uint64_t counts[PCI_ATS_INV_KINDS], void *opaque)
{
    ++*(int *)opaque;
}

/* Returns the number of PASIDs that the monitor lists */
static int registered(void)
{
    int n = 0;

    pci_ats_info_foreach_pasid(&device, count_pasid, &n);
    return n;
}

static PCIATSDMA *start(void)
{
    int i;

    memset(ptes, 0, sizeof(ptes));
    for (i = 0; i < RAM_SIZE; i++) {
        ram[i] = i / PAGE * 7 + i;
    }
    ats_on = pri_on = master_on = thread_safe = true;
    allocation = 32;
    stu = 12;
    untranslated_accesses = translations = requests_seen = 0;
    blocked_addr = 0;
    accepted = refuse = lie = 0;
    register_error = translation_error = 0;
    unanswered = most_unanswered = 0;
    ignored_page = refused_page = -1;
    set_in_group = NULL;
    guest_answer = IOMMU_PRI_RESP_SUCCESS;
    guest_has_bql = false;
    guest_holds = false;
    guest_stop = false;
    start_ledger();
    qatomic_set(&gone, false);
    qemu_thread_create(&guest_thread, "guest", guest, NULL,
                       QEMU_THREAD_JOINABLE);
    pci_ats_info_init(&device);
    return pci_ats_dma_new(&device, 1024);
}

static void unplug(PCIATSDMA *dma)
{
    pci_ats_dma_close(dma);
    qatomic_set(&gone, true);
    assert_null(iotlb_notifier);
    assert_int_equal(registered(), 0);
    assert_int_equal(untranslated_users, 0);
    pci_ats_info_destroy(&device);
}

static void stop_guest(void)
{
    WITH_QEMU_LOCK_GUARD(&guest_lock) {
        guest_stop = true;
        qemu_cond_signal(&guest_cond);
    }
    qemu_thread_join(&guest_thread);
    queue_head = queue_tail = 0;
    stop_ledger();
}

static void stop(PCIATSDMA *dma)
{
    unplug(dma);
    stop_guest();
}

static PCIATSDMATransfer read_transfer(uint32_t pasid, hwaddr addr, void *buf,
                                       size_t len)
{
    return (PCIATSDMATransfer) {
        .pasid = pasid,
        .num_ranges = 1,
        .range = { { addr, DMA_DIRECTION_TO_DEVICE } },
        .len = len,
        .buf = buf,
    };
}

static int dma_read_at(PCIATSDMA *dma, uint32_t pasid, hwaddr addr, void *buf,
                       size_t len)
{
    PCIATSDMATransfer transfer = read_transfer(pasid, addr, buf, len);

    return pci_ats_dma_run(dma, &transfer, NULL);
}

static int dma_read(PCIATSDMA *dma, unsigned page, void *buf, size_t len)
{
    return dma_read_at(dma, 1, IOVA + page * PAGE, buf, len);
}

static int dma_write(PCIATSDMA *dma, unsigned page, void *buf, size_t len)
{
    PCIATSDMATransfer transfer = read_transfer(1, IOVA + page * PAGE, buf, len);

    transfer.range[0].dir = DMA_DIRECTION_FROM_DEVICE;
    return pci_ats_dma_run(dma, &transfer, NULL);
}

/* Reads asynchronously from the start of a page on */
static void submit_read(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                        unsigned page, void *buf, size_t len,
                        PCIATSDMADone *done, void *opaque)
{
    PCIATSDMATransfer transfer = read_transfer(pasid, IOVA + page * PAGE, buf,
                                               len);

    transfer.flags = flags;
    pci_ats_dma_submit(dma, &transfer, done, opaque);
}

/* ---- Tests ---- */

static void test_translated(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[3 * PAGE];
    int before;

    /* Two pages that are not contiguous, at an unaligned address */
    map(4, 9 * PAGE, IOMMU_RW);
    map(5, 2 * PAGE, IOMMU_RW);
    map(6, 3 * PAGE, IOMMU_RW);
    assert_int_equal(dma_read_at(dma, 1, IOVA + 4 * PAGE + 100, buf, 2 * PAGE),
                     0);
    assert_memory_equal(buf, ram + 9 * PAGE + 100, PAGE - 100);
    assert_memory_equal(buf + PAGE - 100, ram + 2 * PAGE, PAGE + 100);
    before = translations;
    assert_int_equal(dma_read(dma, 4, buf, 3 * PAGE), 0);
    assert_int_equal(translations, before);
    memset(buf, 0x5a, sizeof(buf));
    assert_int_equal(dma_write(dma, 5, buf, 2 * PAGE), 0);
    assert_memory_equal(ram + 2 * PAGE, buf, 2 * PAGE);
    assert_int_equal(untranslated_accesses + requests_seen, 0);
    /* Length 0 */
    assert_int_equal(dma_read(dma, 20, buf, 0), 0);
    stop(dma);
}

static void test_errors(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    assert_int_equal(dma_read_at(dma, 1, UINT64_MAX, buf, 2), -EINVAL);
    pri_on = false;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EFAULT);
    map(1, 0, IOMMU_RO);
    assert_int_equal(dma_write(dma, 1, buf, 16), -EFAULT);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    /* The allocation is 0. */
    pri_on = true;
    allocation = 0;
    assert_int_equal(dma_read(dma, 2, buf, 16), -EFAULT);
    assert_int_equal(requests_seen, 0);
    master_on = false;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EPERM);
    stop(dma);
}

static void test_untranslated(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    ats_on = false;
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA, buf, 16), 0);
    assert_memory_equal(buf, ram, 16);
    assert_int_equal(dma_read(dma, 0, buf, 16), -EFAULT);
    assert_int_equal(untranslated_accesses, 2);
    /* The IOMMU records faults of requests with PASID itself. */
    assert_int_equal(blocked_addr, 0);
    /* A read beyond the end of RAM */
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA + RAM_SIZE - 8, buf,
                                 16), -EFAULT);
    assert_memory_equal(buf, ram + RAM_SIZE - 8, 8);
    assert_int_equal(blocked_addr, IOVA + RAM_SIZE);
    assert_false(blocked_write);
    untranslated_accesses = 0;
    assert_null(iotlb_notifier);
    assert_int_equal(registered(), 0);
    ats_on = true;
    map(3, 0, IOMMU_RW | IOMMU_UNTRANSLATED_ONLY);
    assert_int_equal(dma_read(dma, 3, buf, 16), -EFAULT);
    assert_int_equal(untranslated_accesses, 1);
    stop(dma);
}

/* Other IOMMUs take the BQL while they translate: requests of threads fail */
static void test_iommu_without_threads(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    ats_on = thread_safe = false;
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA, buf, 16), -EFAULT);
    bql_lock();
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA, buf, 16), -EFAULT);
    bql_unlock();
    assert_int_equal(untranslated_accesses, 0);
    stop(dma);
}

/* A translated request that the IOMMU blocks moves no data */
static void test_blocked(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16] = { };

    map(3, 0, IOMMU_RW);
    blocked = true;
    assert_int_equal(dma_write(dma, 3, buf, 16), -EFAULT);
    assert_int_equal(ram[1], 1);
    blocked = false;
    assert_int_equal(dma_write(dma, 3, buf, 16), 0);
    assert_int_equal(ram[1], 0);
    stop(dma);
}

/* Transfers access RAM only, with and without the BQL */
static void test_mmio(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    map(3, MMIO, IOMMU_RW);
    assert_int_equal(dma_write(dma, 3, buf, 16), -EIO);
    bql_lock();
    assert_int_equal(dma_write(dma, 3, buf, 16), -EIO);
    bql_unlock();
    stop(dma);
}

static void *read_page_5(void *opaque)
{
    uint8_t buf[16];

    return GINT_TO_POINTER(dma_read(opaque, 5, buf, 16));
}

/* Suspension ends all transfers, also parked ones, and prevents new ones */
static void test_suspend(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];
    QemuThread thread;

    ignored_page = 5;
    qemu_thread_create(&thread, "reader", read_page_5, dma,
                       QEMU_THREAD_JOINABLE);
    while (!qatomic_read(&requests_seen)) {
        g_usleep(100);
    }
    bql_lock();
    pci_ats_dma_suspend(dma);
    bql_unlock();
    assert_int_equal(GPOINTER_TO_INT(qemu_thread_join(&thread)), -ECANCELED);
    map(3, 0, IOMMU_RW);
    assert_int_equal(dma_read(dma, 3, buf, 16), -ECANCELED);
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA, buf, 16), -ECANCELED);
    bql_lock();
    pci_ats_dma_resume(dma);
    bql_unlock();
    assert_int_equal(dma_read(dma, 3, buf, 16), 0);
    stop(dma);
}

typedef struct Copy {
    size_t pieces;
    size_t last;                /* number of the piece to stop after */
} Copy;

static bool copy_piece(void *opaque, void *const *data, size_t len)
{
    Copy *copy = opaque;

    memmove(data[1], data[0], len);
    return ++copy->pieces != copy->last;
}

/* Copies from page @from on to page @to on; sets @visited and @failed */
static int copy_pages(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                      unsigned from, unsigned to, size_t len, Copy *copy,
                      size_t *visited, unsigned *failed)
{
    const PCIATSDMATransfer transfer = {
        .pasid = pasid,
        .flags = flags | PCI_ATS_DMA_EXACT,
        .num_ranges = 2,
        .range = {
            { IOVA + from * PAGE + 7, DMA_DIRECTION_TO_DEVICE },
            { IOVA + to * PAGE + 1000, DMA_DIRECTION_FROM_DEVICE },
        },
        .len = len,
        .visit = copy_piece,
        .opaque = copy,
    };
    PCIATSDMAResult result;
    int ret = pci_ats_dma_run(dma, &transfer, &result);

    *visited = result.moved;
    *failed = result.failed;
    return ret;
}

/* The engine visits ranges in step, whichever of them lacks a page */
static void test_ranges(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t before[3 * PAGE];
    size_t visited;
    unsigned failed;
    Copy copy = { };

    memcpy(before, ram, sizeof(before));
    /* The guest maps all pages one to one. */
    assert_int_equal(copy_pages(dma, 1, 0, 0, 10, 2 * PAGE, &copy, &visited,
                                &failed), 0);
    assert_int_equal(visited, 2 * PAGE);
    assert_memory_equal(ram + 10 * PAGE + 1000, before + 7, 2 * PAGE);
    assert_int_equal(requests_seen, 6);

    /* Without page requests: the second range ends first, then the first */
    assert_int_equal(copy_pages(dma, 1, PCI_ATS_DMA_NO_PRI, 0, 12, 2 * PAGE,
                                &copy, &visited, &failed), -EFAULT);
    assert_int_equal(failed, 1);
    assert_int_equal(visited, PAGE - 1000);
    assert_int_equal(copy_pages(dma, 1, PCI_ATS_DMA_NO_PRI, 2, 10, 2 * PAGE,
                                &copy, &visited, &failed), -EFAULT);
    assert_int_equal(failed, 0);
    assert_int_equal(visited, PAGE - 7);
    stop(dma);
}

/* Untranslated ranges, and ranges that are not RAM */
static void test_ranges_untranslated(void **state)
{
    PCIATSDMA *dma = start();
    size_t visited;
    unsigned failed;
    Copy copy = { };

    ats_on = false;
    assert_int_equal(copy_pages(dma, PCI_NO_PASID, 0, 0, 10, 2 * PAGE, &copy,
                                &visited, &failed), 0);
    assert_memory_equal(ram + 10 * PAGE + 1000, ram + 7, 2 * PAGE);
    assert_int_equal(copy_pages(dma, PCI_NO_PASID, 0, 0, NR_PAGES, PAGE, &copy,
                                &visited, &failed), -EFAULT);
    assert_int_equal(failed, 1);
    assert_int_equal(visited, 0);
    assert_int_equal(blocked_addr, IOVA + RAM_SIZE + 1000);
    assert_true(blocked_write);
    ats_on = true;
    map(0, 0, IOMMU_RW);
    map(10, MMIO, IOMMU_RW);
    assert_int_equal(copy_pages(dma, 1, 0, 0, 10, 16, &copy, &visited, &failed),
                     -EIO);
    assert_int_equal(failed, 1);
    assert_int_equal(copy_pages(dma, 1, 0, NR_PAGES - 1, 10, SIZE_MAX, &copy,
                                &visited, &failed), -EINVAL);
    stop(dma);
}

/* The engine requests all missing pages within the allocation */
static void test_page_requests(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree uint8_t *buf = g_malloc(RAM_SIZE);

    allocation = 3;
    map(5, 5 * PAGE, IOMMU_RO);
    assert_int_equal(dma_read(dma, 0, buf, RAM_SIZE), 0);
    assert_memory_equal(buf, ram, RAM_SIZE);
    assert_int_equal(requests_seen, NR_PAGES - 1);
    assert_int_equal(most_unanswered, 3);
    stop(dma);
}

/* A write to a page that is mapped read-only sends a page request */
static void test_page_request_write(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16] = { 1, 2, 3 };

    assert_int_equal(dma_read(dma, 7, buf, 16), 0);
    assert_int_equal(requests_seen, 1);
    memset(buf, 0x77, sizeof(buf));
    assert_int_equal(dma_write(dma, 7, buf, 16), 0);
    assert_int_equal(requests_seen, 2);
    assert_memory_equal(ram + 7 * PAGE, buf, 16);
    stop(dma);
}

static void test_page_request_responses(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    guest_answer = IOMMU_PRI_RESP_INVALID_REQUEST;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EFAULT);
    guest_answer = IOMMU_PRI_RESP_FAILURE;
    assert_int_equal(dma_read(dma, 1, buf, 16), -ECANCELED);
    /* Success, but the page is still missing: the engine requests it again. */
    guest_answer = IOMMU_PRI_RESP_SUCCESS;
    lie = 40;
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    assert_int_equal(lie, 0);
    /* The page request queue is full for a while. */
    refuse = 10;
    assert_int_equal(dma_read(dma, 2, buf, 16), 0);
    assert_int_equal(refuse, 0);
    stop(dma);
}

/* 10.4.1: the engine closes a group whose last requests overflow the queue */
static void test_group_overflow(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[8 * PAGE];

    accepted = 3;
    refuse = 4;
    assert_int_equal(dma_read(dma, 1, buf, sizeof(buf)), 0);
    assert_memory_equal(buf, ram + PAGE, sizeof(buf));
    assert_int_equal(accepted + refuse, 0);
    stop(dma);
}

/* The engine returns the errors of the IOMMU */
static void test_iommu_errors(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    register_error = -EINVAL;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EINVAL);
    register_error = 0;
    translation_error = -EPERM;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EPERM);
    translation_error = 0;
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    stop(dma);
    pci_ats_dma_close(NULL);
}

/* Reads from byte 8 of page 1 on */
static int read_partial(PCIATSDMA *dma, unsigned flags, void *buf, size_t len,
                        size_t *moved)
{
    PCIATSDMATransfer transfer = read_transfer(1, IOVA + PAGE + 8, buf, len);
    PCIATSDMAResult result;
    int ret;

    transfer.flags = flags | PCI_ATS_DMA_EXACT;
    ret = pci_ats_dma_run(dma, &transfer, &result);
    *moved = result.moved;
    return ret;
}

/* An exact transfer moves all data in front of a missing page */
static void test_partial(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[4 * PAGE];
    size_t moved;

    map(1, 8 * PAGE, IOMMU_RO);
    map(2, 3 * PAGE, IOMMU_RO);
    assert_int_equal(read_partial(dma, PCI_ATS_DMA_NO_PRI, buf, sizeof(buf),
                                  &moved), -EFAULT);
    assert_int_equal(moved, 2 * PAGE - 8);
    assert_memory_equal(buf, ram + 8 * PAGE + 8, PAGE - 8);
    assert_int_equal(requests_seen, 0);
    /* A refused prefetch does not end the transfer before the data arrive. */
    refused_page = 4;
    assert_int_equal(read_partial(dma, 0, buf, sizeof(buf), &moved), -EFAULT);
    assert_int_equal(moved, 3 * PAGE - 8);
    /* A prefetch of 3 pages, and then a demand page request */
    assert_int_equal(requests_seen, 4);
    refused_page = -1;
    assert_int_equal(read_partial(dma, 0, buf, sizeof(buf), &moved), 0);
    assert_int_equal(moved, sizeof(buf));
    stop(dma);
}

typedef struct Background {
    PCIATSDMA *dma;
    uint32_t pasid;
    unsigned page;
    size_t len;
    bool cancel;
    QemuThread thread;
    QemuSemaphore ended;
    int ret;
    size_t moved;
    uint8_t buf[RAM_SIZE];
} Background;

static void background_start(Background *b, void *(*fn)(void *), PCIATSDMA *dma,
                             uint32_t pasid, unsigned page, size_t len)
{
    *b = (Background) {
        .dma = dma, .pasid = pasid, .page = page, .len = len,
    };
    qemu_sem_init(&b->ended, 0);
    qemu_thread_create(&b->thread, "background", fn, b, QEMU_THREAD_JOINABLE);
}

static int background_join(Background *b)
{
    qemu_thread_join(&b->thread);
    qemu_sem_destroy(&b->ended);
    return b->ret;
}

static void *background_read(void *opaque)
{
    Background *b = opaque;
    PCIATSDMATransfer transfer = read_transfer(b->pasid, IOVA + b->page * PAGE,
                                               b->buf, b->len);
    PCIATSDMAResult result;

    transfer.flags = PCI_ATS_DMA_EXACT;
    transfer.cancel = &b->cancel;
    b->ret = pci_ats_dma_run(b->dma, &transfer, &result);
    b->moved = result.moved;
    qemu_sem_post(&b->ended);
    return NULL;
}

/* Copies one piece only: the first page */
static void *background_copy(void *opaque)
{
    Background *b = opaque;
    unsigned failed;
    Copy copy = { .last = 1 };

    b->ret = copy_pages(b->dma, b->pasid, 0, b->page, b->page + 10, b->len,
                        &copy, &b->moved, &failed);
    qemu_sem_post(&b->ended);
    return NULL;
}

static void *background_settle(void *opaque)
{
    Background *b = opaque;

    b->ret = pci_ats_dma_settle(b->dma, b->pasid);
    qemu_sem_post(&b->ended);
    return NULL;
}

static void wait_for_requests(int n)
{
    while (qatomic_read(&requests_seen) < n) {
        g_usleep(100);
    }
}

/* Each range uses a share of the allocation */
static void test_ranges_share_allocation(void **state)
{
    PCIATSDMA *dma = start();
    size_t visited;
    unsigned failed, writes = 0;
    Copy copy = { };

    allocation = 8;
    assert_int_equal(copy_pages(dma, 1, 0, 0, 20, 16 * PAGE, &copy, &visited,
                                &failed), 0);
    assert_int_equal(requests_seen, 2 * 17);
    assert_int_equal(most_unanswered, 8);
    for (int i = 0; i < 8; i++) {
        writes += queue[i].is_write;
    }
    assert_in_range(writes, 3, 5);
    stop(dma);
}

/*
 * 10.5.1.3, 10.5.2.5: a transfer ends with every value of STU and of the
 * allocation
 */
static void test_ranges_extreme(void **state)
{
    static const uint32_t allocations[] = { 1, 2, 3, 1 << 22, UINT32_MAX };
    PCIATSDMA *dma = start();
    size_t visited;
    unsigned failed;
    Copy copy = { };

    pri_on = false;
    map(15, 0, IOMMU_RO);
    map(40, 0, IOMMU_RW);
    map(41, 0, IOMMU_RW);
    for (stu = 12; stu <= STU_MAX; stu++) {
        for (int i = 0; i < ARRAY_SIZE(allocations); i++) {
            allocation = allocations[i];
            assert_int_equal(copy_pages(dma, 1, 0, 15, 40, 4 * PAGE, &copy,
                                        &visited, &failed), -EFAULT);
            assert_int_equal(failed, 0);
            assert_int_equal(visited, PAGE - 7);
        }
    }
    stop(dma);
}

/* The result names the range and the byte at which the guest refuses a page */
static void test_ranges_refused(void **state)
{
    PCIATSDMA *dma = start();
    size_t visited;
    unsigned failed;
    Copy copy = { };

    refused_page = 25;
    assert_int_equal(copy_pages(dma, 1, 0, 0, 20, 16 * PAGE, &copy, &visited,
                                &failed), -EFAULT);
    assert_int_equal(failed, 1);
    assert_int_equal(visited, 5 * PAGE - 1000);
    refused_page = 3;
    map(3, 0, IOMMU_NONE);
    invalidate(1, 3);
    assert_int_equal(copy_pages(dma, 1, 0, 0, 40, 16 * PAGE, &copy, &visited,
                                &failed), -EFAULT);
    assert_int_equal(failed, 0);
    assert_int_equal(visited, 3 * PAGE - 7);
    stop(dma);
}

/* A demand page request has precedence over prefetch of other transfers */
static void test_starved(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Background *b = g_new(Background, 2);
    int before, i = 4;

    allocation = 4;
    guest_hold(true);
    background_start(&b[0], background_read, dma, 1, 0, 32 * PAGE);
    wait_for_requests(4);
    before = qatomic_read(&translations);
    background_start(&b[1], background_read, dma, 2, 40, 16);
    /* After the second translation request, the transfer is starved. */
    while (qatomic_read(&translations) < before + 2) {
        g_usleep(100);
    }
    guest_hold(false);
    assert_int_equal(background_join(&b[0]), 0);
    assert_int_equal(background_join(&b[1]), 0);
    while (queue[i].pasid != 2) {
        i++;
    }
    assert_in_range(i, 4, 7);
    assert_int_equal(most_unanswered, 4);
    stop(dma);
}

/* A cancelled transfer sends no further page requests, and ends */
static void test_cancel_one(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Background *b = g_new(Background, 2);

    allocation = 1;
    guest_hold(true);
    background_start(&b[0], background_read, dma, 1, 0, 8 * PAGE);
    wait_for_requests(1);
    qatomic_set(&b[0].cancel, true);
    assert_int_equal(qemu_sem_timedwait(&b[0].ended, 20), -1);
    guest_hold(false);
    assert_int_equal(background_join(&b[0]), -ECANCELED);
    assert_int_equal(b[0].moved, 0);
    assert_int_equal(requests_seen, 1);
    /* The other transfers continue. */
    background_start(&b[1], background_read, dma, 1, 0, 8 * PAGE);
    assert_int_equal(background_join(&b[1]), 0);
    stop(dma);
}

/* 10.4.1: a cancelled transfer still sends the last request of its group */
static void test_cancel_in_group(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Background *b = g_new(Background, 1);

    set_in_group = &b->cancel;
    background_start(b, background_read, dma, 1, 0, 8 * PAGE);
    assert_int_equal(background_join(b), -ECANCELED);
    assert_int_equal(requests_seen, 8);
    assert_true(queue[7].last);
    stop(dma);
}

/* 6.20.1: a transfer that ends early waits for outstanding responses */
static void test_end_waits_for_responses(void **state)
{
    IOMMUPRIResponse response = { };
    PCIATSDMA *dma = start();
    g_autofree Background *b = g_new(Background, 1);

    /* The groups are page 0, pages 2 to 8, page 10, and pages 12 to 18. */
    map(1, PAGE, IOMMU_RW);
    map(11, 11 * PAGE, IOMMU_RW);
    ignored_page = 8;
    background_start(b, background_copy, dma, 1, 0, 8 * PAGE);
    wait_for_requests(16);
    assert_int_equal(qemu_sem_timedwait(&b->ended, 20), -1);
    WITH_QEMU_LOCK_GUARD(&guest_lock) {
        response.prgi = ignored_prgi;
    }
    deliver(1, &response);
    assert_int_equal(background_join(b), 0);
    assert_true(b->moved < 8 * PAGE);
    stop(dma);
}

static void suspend(PCIATSDMA *dma)
{
    BQL_LOCK_GUARD();
    pci_ats_dma_suspend(dma);
}

static void resume(PCIATSDMA *dma)
{
    BQL_LOCK_GUARD();
    pci_ats_dma_resume(dma);
}

/* 6.20.1: pci_ats_dma_settle() waits for the outstanding groups of a PASID */
static void test_settle(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Background *b = g_new(Background, 1);

    assert_true(pci_ats_dma_settle(dma, 1));
    guest_hold(true);
    background_start(b, background_read, dma, 1, 0, 8 * PAGE);
    wait_for_requests(8);
    suspend(dma);
    assert_int_equal(background_join(b), -ECANCELED);
    assert_false(pci_ats_dma_settle(dma, 1));
    assert_true(pci_ats_dma_settle(dma, 2));
    resume(dma);
    assert_true(pci_ats_dma_settle(dma, 2));

    background_start(b, background_settle, dma, 1, 0, 0);
    assert_int_equal(qemu_sem_timedwait(&b->ended, 20), -1);
    suspend(dma);
    assert_false(background_join(b));
    resume(dma);
    background_start(b, background_settle, dma, 1, 0, 0);
    guest_hold(false);
    assert_true(background_join(b));
    assert_int_equal(unanswered, 0);

    /* It does not wait when the guest cannot respond any more. */
    guest_hold(true);
    background_start(b, background_read, dma, 1, 10, 16);
    wait_for_requests(9);
    suspend(dma);
    assert_int_equal(background_join(b), -ECANCELED);
    resume(dma);
    qatomic_set(&pri_on, false);
    assert_true(pci_ats_dma_settle(dma, 1));
    stop(dma);
}

/* A thread with the BQL cannot wait for a response */
static void test_bql_would_block(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    bql_lock();
    assert_int_equal(dma_read(dma, 1, buf, 16), -EWOULDBLOCK);
    assert_int_equal(requests_seen, 0);
    map(1, 0, IOMMU_RO);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    bql_unlock();
    stop(dma);
}

/* 10.5.1.3: translations from before ATS was off are not used any more */
static void test_epoch(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    map(1, 0, IOMMU_RO);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    map(1, 8 * PAGE, IOMMU_RO);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    assert_memory_equal(buf, ram, 16);
    epoch++;
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    assert_memory_equal(buf, ram + 8 * PAGE, 16);
    stop(dma);
}

/* More PASIDs than can be registered at once */
static void test_many_pasids(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];
    int i;

    /* Use all pages, so that the ATC has room for all translations. */
    for (i = 0; i < NR_PAGES; i++) {
        map(i, 0, IOMMU_RO);
    }
    for (i = 0; i < 300; i++) {
        unsigned page = i % NR_PAGES;

        assert_int_equal(dma_read_at(dma, i, IOVA + page * PAGE, buf, 16), 0);
        assert_int_equal(registered(), MIN(i + 1, 256));
    }
    /* Translations of unregistered PASIDs are not cached. */
    for (i = 0; i < 10; i++) {
        map(i, 8 * PAGE, IOMMU_RO);
        assert_int_equal(dma_read_at(dma, i, IOVA + i * PAGE, buf, 16), 0);
        assert_memory_equal(buf, ram + 8 * PAGE, 16);
    }
    stop(dma);
}

/* 10.3.8: one invalidation for all PASIDs reaches the translations of each */
static void test_invalidate_all(void **state)
{
    PCIATSDMA *dma = start();
    PCIATCStats stats;
    uint8_t buf[16];

    map(0, 0, IOMMU_RO);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(dma_read_at(dma, i, IOVA, buf, 16), 0);
    }
    map(0, 8 * PAGE, IOMMU_RO);
    invalidate(5, 0);
    assert_int_equal(dma_read_at(dma, 5, IOVA, buf, 16), 0);
    assert_memory_equal(buf, ram + 8 * PAGE, 16);
    assert_int_equal(dma_read_at(dma, 6, IOVA, buf, 16), 0);
    assert_memory_equal(buf, ram, 16);
    invalidate(PCI_ANY_PASID, 0);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(dma_read_at(dma, i, IOVA, buf, 16), 0);
        assert_memory_equal(buf, ram + 8 * PAGE, 16);
    }
    pci_ats_dma_get_stats(dma, &stats);
    assert_int_equal(stats.invalidations, 2);
    stop(dma);
}

typedef struct Async {
    QemuSemaphore sem;
    int ret;
    uint8_t buf[PAGE];
} Async;

static void async_done(void *opaque, int ret)
{
    Async *a = opaque;

    a->ret = ret;
    qemu_sem_post(&a->sem);
}

static void async_start(Async *a, PCIATSDMA *dma, uint32_t pasid, unsigned page)
{
    qemu_sem_init(&a->sem, 0);
    a->ret = 1;
    submit_read(dma, pasid, 0, page, a->buf, PAGE, async_done, a);
}

/* A transfer that waits for the guest does not delay other transfers */
static void test_async(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Async *a = g_new0(Async, 20);
    int i;

    ignored_page = 0;
    refuse = 5;
    for (i = 0; i < 20; i++) {
        async_start(&a[i], dma, 1 + i % 3, i);
    }
    for (i = 1; i < 20; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, 0);
        assert_memory_equal(a[i].buf, ram + i * PAGE, PAGE);
    }
    assert_int_equal(qatomic_read(&a[0].ret), 1);
    /* It ends when the function is unrealized. */
    stop(dma);
    qemu_sem_wait(&a[0].sem);
    assert_int_equal(a[0].ret, -ECANCELED);
    for (i = 0; i < 20; i++) {
        qemu_sem_destroy(&a[i].sem);
    }
}

/* 10.4.2.1: the guest responds to no group after Response Failure */
static void test_response_failure(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Async *a = g_new0(Async, 2);
    int i;

    ignored_page = 0;
    async_start(&a[0], dma, 1, 0);
    wait_for_requests(1);
    guest_hold(true);
    async_start(&a[1], dma, 2, 1);
    wait_for_requests(2);
    guest_answer = IOMMU_PRI_RESP_FAILURE;
    /* The response sets RF. */
    qatomic_set(&pri_on, false);
    guest_hold(false);
    for (i = 0; i < 2; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, -ECANCELED);
        qemu_sem_destroy(&a[i].sem);
    }
    stop(dma);
}

/* ---- Inline transfers ---- */

typedef struct Inline {
    QemuSemaphore sem;
    QemuThread thread;          /* the thread that reported the end */
    bool with_bql;
    int ret;
    uint8_t buf[2 * PAGE];
} Inline;

static void inline_done(void *opaque, int ret)
{
    Inline *a = opaque;

    qemu_thread_get_self(&a->thread);
    a->with_bql = bql_locked();
    a->ret = ret;
    qemu_sem_post(&a->sem);
}

static void inline_start(Inline *a, PCIATSDMA *dma, unsigned page, size_t len)
{
    submit_read(dma, 1, PCI_ATS_DMA_INLINE, page, a->buf, len, inline_done, a);
}

/* Only short transfers run inline, and only with the BQL held */
static void test_inline(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Inline *a = g_new0(Inline, 1);

    qemu_sem_init(&a->sem, 0);
    map(1, PAGE, IOMMU_RO);
    map(2, 2 * PAGE, IOMMU_RO);
    bql_lock();
    inline_start(a, dma, 1, PAGE);
    assert_int_equal(qemu_sem_timedwait(&a->sem, 0), 0);
    assert_true(qemu_thread_is_self(&a->thread));
    assert_int_equal(a->ret, 0);
    assert_memory_equal(a->buf, ram + PAGE, PAGE);

    inline_start(a, dma, 1, PAGE + 1);
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_false(qemu_thread_is_self(&a->thread));
    assert_int_equal(a->ret, 0);

    inline_start(a, dma, 1, PAGE);
    qemu_sem_wait(&a->sem);
    assert_false(qemu_thread_is_self(&a->thread));
    assert_int_equal(a->ret, 0);
    qemu_sem_destroy(&a->sem);
    stop(dma);
}

/* A response with the BQL held ends the transfer inline, others do not */
static void test_inline_page_request(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Inline *a = g_new0(Inline, 1);

    qemu_sem_init(&a->sem, 0);
    for (unsigned page = 0; page < 2; page++) {
        qatomic_set(&guest_has_bql, !page);
        bql_lock();
        inline_start(a, dma, page, 64);
        bql_unlock();
        qemu_sem_wait(&a->sem);
        assert_int_equal(a->with_bql, !page);
        assert_int_equal(qemu_thread_is_self(&a->thread), false);
        assert_int_equal(a->ret, 0);
        assert_memory_equal(a->buf, ram + page * PAGE, 64);
    }
    assert_int_equal(requests_seen, 2);
    qemu_sem_destroy(&a->sem);
    stop(dma);
}

/*
 * 10.5.2.2: a reset ends a transfer, but not in the thread that resets the
 * function
 */
static void test_inline_reset(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Inline *a = g_new0(Inline, 1);

    qemu_sem_init(&a->sem, 0);
    ignored_page = 0;
    bql_lock();
    inline_start(a, dma, 0, 64);
    assert_int_equal(requests_seen, 1);
    qatomic_set(&pri_on, false);
    reset_groups(1);
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_int_equal(a->ret, -ECANCELED);
    assert_false(qemu_thread_is_self(&a->thread));
    assert_false(a->with_bql);
    qemu_sem_destroy(&a->sem);
    stop(dma);
}

/* The worker continues an inline transfer that is delayed */
static void test_inline_delayed(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Inline *a = g_new0(Inline, 1);

    qemu_sem_init(&a->sem, 0);
    refuse = 5;
    bql_lock();
    inline_start(a, dma, 0, 64);
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_int_equal(a->ret, 0);
    qemu_sem_destroy(&a->sem);
    stop(dma);
}

/* Concurrent responses, invalidations, cancellations and new transfers */
static void test_inline_race(void **state)
{
    const unsigned n = 8;
    PCIATSDMA *dma = start();
    g_autofree Inline *a = g_new0(Inline, n);

    for (unsigned i = 0; i < n; i++) {
        qemu_sem_init(&a[i].sem, 0);
    }
    for (unsigned round = 0; round < 100; round++) {
        qatomic_set(&guest_has_bql, round % 3);
        for (unsigned i = 0; i < n; i++) {
            BQL_LOCK_GUARD();
            map(i, 0, IOMMU_NONE);
            invalidate(1, i);
            inline_start(&a[i], dma, i, 64 + i % 2 * PAGE);
            if ((round + i) % 11 == 0) {
                pci_ats_dma_cancel(dma);
            }
        }
        for (unsigned i = 0; i < n; i++) {
            qemu_sem_wait(&a[i].sem);
            assert_true(!a[i].ret || a[i].ret == -ECANCELED);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        qemu_sem_destroy(&a[i].sem);
    }
    stop(dma);
}

/*
 * A cancelled transfer ends when the guest has responded, or cannot respond any
 * more; later transfers work
 */
static void test_cancel(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Async *a = g_new0(Async, 1);
    uint8_t buf[16];

    ignored_page = 0;
    async_start(a, dma, 1, 0);
    while (!qatomic_read(&requests_seen)) {
        g_usleep(1000);
    }
    bql_lock();
    pci_ats_dma_cancel(dma);
    bql_unlock();
    assert_int_equal(qemu_sem_timedwait(&a->sem, 20), -1);
    qatomic_set(&pri_on, false);
    bql_lock();
    pci_ats_dma_recheck(dma);
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_int_equal(a->ret, -ECANCELED);
    qatomic_set(&pri_on, true);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    stop(dma);
    qemu_sem_destroy(&a->sem);
}

static void async_done_with_bql(void *opaque, int ret)
{
    BQL_LOCK_GUARD();

    async_done(opaque, ret);
}

/* The worker may wait for the BQL that the caller of close holds */
static void test_close_with_bql(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Async *a = g_new0(Async, 1);

    map(1, MMIO, IOMMU_RW);
    bql_lock();
    qemu_sem_init(&a->sem, 0);
    submit_read(dma, 1, 0, 1, a->buf, PAGE, async_done_with_bql, a);
    /* Wait until the transfer has its translation, and will end soon. */
    while (!qatomic_read(&translations)) {
        g_usleep(100);
    }
    stop(dma);
    assert_true(bql_locked());
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_true(a->ret == -EIO || a->ret == -ECANCELED);
    qemu_sem_destroy(&a->sem);
}

/* ---- The function is unrealized while transfers run ---- */

/* A transfer whose PCIATSDMADone waits for @let_go */
typedef struct Blocker {
    Async async;
    QemuSemaphore reached;
    QemuSemaphore let_go;
} Blocker;

static void blocker_done(void *opaque, int ret)
{
    Blocker *b = opaque;

    qemu_sem_post(&b->reached);
    qemu_sem_wait(&b->let_go);
    async_done(&b->async, ret);
}

/* Returns when the worker is in blocker_done() */
static void blocker_start(Blocker *b, PCIATSDMA *dma)
{
    qemu_sem_init(&b->async.sem, 0);
    qemu_sem_init(&b->reached, 0);
    qemu_sem_init(&b->let_go, 0);
    map(1, 0, IOMMU_RO);
    submit_read(dma, 1, 0, 1, b->async.buf, PAGE, blocker_done, b);
    qemu_sem_wait(&b->reached);
}

static void blocker_end(Blocker *b)
{
    qemu_sem_post(&b->let_go);
    qemu_sem_wait(&b->async.sem);
    assert_int_equal(b->async.ret, 0);
    qemu_sem_destroy(&b->async.sem);
    qemu_sem_destroy(&b->reached);
    qemu_sem_destroy(&b->let_go);
}

/* Close ends queued transfers, without waiting for the worker */
static void test_close_queued(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Blocker *b = g_new0(Blocker, 1);
    g_autofree Async *a = g_new0(Async, 3);

    blocker_start(b, dma);
    for (int i = 0; i < 3; i++) {
        async_start(&a[i], dma, i, 1);
    }
    bql_lock();
    unplug(dma);
    bql_unlock();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(qatomic_read(&a[i].ret), 1);
    }
    blocker_end(b);
    for (int i = 0; i < 3; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, -ECANCELED);
        qemu_sem_destroy(&a[i].sem);
    }
    stop_guest();
}

static void wait_for_refusal(void)
{
    for (;;) {
        WITH_QEMU_LOCK_GUARD(&guest_lock) {
            if (refuse < INT_MAX) {
                return;
            }
        }
        g_usleep(100);
    }
}

/* Close ends a parked transfer, a delayed one, and one that has just begun */
static void test_close_waiting(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Async *a = g_new0(Async, 3);

    ignored_page = 0;
    async_start(&a[0], dma, 1, 0);
    wait_for_requests(1);
    WITH_QEMU_LOCK_GUARD(&guest_lock) {
        refuse = INT_MAX;
    }
    async_start(&a[1], dma, 2, 1);
    wait_for_refusal();
    async_start(&a[2], dma, 3, 2);
    bql_lock();
    unplug(dma);
    bql_unlock();
    for (int i = 0; i < 3; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, -ECANCELED);
        qemu_sem_destroy(&a[i].sem);
    }
    stop_guest();
}

typedef struct Visit {
    Async async;
    bool inside;
    bool after;                 /* the visit was called again */
} Visit;

static bool slow_visit(void *opaque, void *const *data, size_t len)
{
    Visit *v = opaque;

    if (qatomic_read(&v->inside)) {
        v->after = true;
        return true;
    }
    qatomic_set(&v->inside, true);
    /* Wait until pci_ats_dma_close() has begun. */
    g_usleep(20 * 1000);
    memset(data[0], 0x5a, len);
    return true;
}

/* Close waits for a visit in progress; no access to memory follows */
static void test_close_running(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Visit *v = g_new0(Visit, 1);

    qemu_sem_init(&v->async.sem, 0);
    map(1, PAGE, IOMMU_RW);
    map(2, 5 * PAGE, IOMMU_RW);
    pci_ats_dma_submit(dma, &(PCIATSDMATransfer) {
        .pasid = 1,
        .flags = PCI_ATS_DMA_TRANSLATED_ONLY,
        .num_ranges = 1,
        .range = { { IOVA + PAGE, DMA_DIRECTION_FROM_DEVICE } },
        .len = 2 * PAGE,
        .visit = slow_visit,
        .opaque = v,
    }, async_done, v);
    while (!qatomic_read(&v->inside)) {
        g_usleep(100);
    }
    bql_lock();
    unplug(dma);
    bql_unlock();
    assert_int_equal(ram[PAGE], 0x5a);
    assert_int_equal(ram[2 * PAGE - 1], 0x5a);
    qemu_sem_wait(&v->async.sem);
    assert_int_equal(v->async.ret, -ECANCELED);
    assert_false(v->after);
    qemu_sem_destroy(&v->async.sem);
    stop_guest();
}

typedef struct Chain {
    Async async;
    PCIATSDMA *dma;
    int ends;
    int canceled;
} Chain;

/* Starts another transfer when one has ended */
static void chain_done(void *opaque, int ret)
{
    Chain *c = opaque;

    c->canceled += ret == -ECANCELED;
    if (c->canceled == 3) {
        async_done(&c->async, ret);
        return;
    }
    submit_read(c->dma, 1, 0, 1, c->async.buf, PAGE, chain_done, c);
    qatomic_inc(&c->ends);
}

static void test_close_while_resubmitting(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Chain *c = g_new0(Chain, 1);

    c->dma = dma;
    map(1, 0, IOMMU_RO);
    qemu_sem_init(&c->async.sem, 0);
    chain_done(c, 0);
    while (qatomic_read(&c->ends) < 10) {
        g_usleep(100);
    }
    bql_lock();
    unplug(dma);
    bql_unlock();
    qemu_sem_wait(&c->async.sem);
    qemu_sem_destroy(&c->async.sem);
    stop_guest();
}

typedef struct Unplugger {
    Async async;
    PCIATSDMA *dma;
} Unplugger;

/* Unplugs the function, as an interrupt message to the hot-plug controller */
static void unplugger_done(void *opaque, int ret)
{
    Unplugger *u = opaque;
    BQL_LOCK_GUARD();

    unplug(u->dma);
    async_done(&u->async, ret);
}

static void close_in_done_with_bql(Unplugger *u)
{
    qemu_sem_init(&u->async.sem, 0);
    bql_lock();
    submit_read(u->dma, 1, PCI_ATS_DMA_INLINE, 1, u->async.buf, 64,
                unplugger_done, u);
    bql_unlock();
    qemu_sem_wait(&u->async.sem);
    assert_int_equal(u->async.ret, 0);
    qemu_sem_destroy(&u->async.sem);
    stop_guest();
}

/* The end of an inline transfer unplugs the function, in the caller's thread */
static void test_close_in_done_inline(void **state)
{
    g_autofree Unplugger *u = g_new0(Unplugger, 1);

    u->dma = start();
    map(1, 0, IOMMU_RO);
    close_in_done_with_bql(u);
}

/* The end of an inline transfer unplugs the function, in a response */
static void test_close_in_done_response(void **state)
{
    g_autofree Unplugger *u = g_new0(Unplugger, 1);

    u->dma = start();
    qatomic_set(&guest_has_bql, true);
    close_in_done_with_bql(u);
}

/* The end of a transfer unplugs the function in the worker; others wait */
static void test_close_in_done(void **state)
{
    g_autofree Unplugger *u = g_new0(Unplugger, 1);
    g_autofree Async *a = g_new0(Async, 1);

    u->dma = start();
    qemu_sem_init(&u->async.sem, 0);
    ignored_page = 0;
    async_start(a, u->dma, 1, 0);
    wait_for_requests(1);
    map(1, 0, IOMMU_RO);
    submit_read(u->dma, 1, 0, 1, u->async.buf, PAGE, unplugger_done, u);
    qemu_sem_wait(&u->async.sem);
    qemu_sem_wait(&a->sem);
    assert_int_equal(u->async.ret, 0);
    assert_int_equal(a->ret, -ECANCELED);
    qemu_sem_destroy(&u->async.sem);
    qemu_sem_destroy(&a->sem);
    stop_guest();
}

/* Close at random times, with transfers of all kinds */
static void test_close_race(void **state)
{
    const unsigned n = 8;
    g_autofree Inline *a = g_new0(Inline, n);

    for (unsigned round = 0; round < 100; round++) {
        PCIATSDMA *dma = start();

        qatomic_set(&guest_has_bql, round % 3);
        for (unsigned i = 0; i < n; i++) {
            BQL_LOCK_GUARD();
            qemu_sem_init(&a[i].sem, 0);
            if (i % 3) {
                map(i, 0, IOMMU_RO);
            }
            inline_start(&a[i], dma, i, 64 + i % 2 * PAGE);
        }
        g_usleep(round * 37 % 1500);
        bql_lock();
        unplug(dma);
        bql_unlock();
        for (unsigned i = 0; i < n; i++) {
            qemu_sem_wait(&a[i].sem);
            assert_true(!a[i].ret || a[i].ret == -ECANCELED);
            qemu_sem_destroy(&a[i].sem);
        }
        stop_guest();
    }
}

/* 6.20.1: a transfer does not end before the responses to loaded groups */
static void test_loaded_groups(void **state)
{
    IOMMUPRIResponse response = { .prgi = 7 };
    PCIATSDMA *dma = start();
    g_autofree Async *a = g_new0(Async, 2);
    g_autofree Background *b = g_new(Background, 1);

    map(1, PAGE, IOMMU_RW);
    loaded_groups = true;
    async_start(&a[0], dma, 1, 1);
    async_start(&a[1], dma, 2, 1);
    qemu_sem_wait(&a[1].sem);
    assert_int_equal(a[1].ret, 0);
    assert_int_equal(qemu_sem_timedwait(&a[0].sem, 20), -1);
    background_start(b, background_settle, dma, 1, 0, 0);
    assert_int_equal(qemu_sem_timedwait(&b->ended, 20), -1);
    qatomic_set(&loaded_groups, false);
    deliver(1, &response);
    qemu_sem_wait(&a[0].sem);
    assert_int_equal(a[0].ret, 0);
    assert_true(background_join(b));
    qemu_sem_destroy(&a[0].sem);
    qemu_sem_destroy(&a[1].sem);
    /* Without loaded groups, each transfer checks for them once. */
    qatomic_set(&loaded_questions, 0);
    async_start(&a[0], dma, 1, 1);
    qemu_sem_wait(&a[0].sem);
    assert_int_equal(qatomic_read(&loaded_questions), 1);
    qemu_sem_destroy(&a[0].sem);
    stop(dma);
}

/* While all PASIDs that can be registered are in use, another PASID fails */
static void test_all_pasids_in_use(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Async *a = g_new0(Async, 256);
    uint8_t buf[16];
    int i;

    ignored_page = 0;
    allocation = 300;
    for (i = 0; i < 256; i++) {
        async_start(&a[i], dma, i, 0);
    }
    while (qatomic_read(&requests_seen) < 256) {
        g_usleep(1000);
    }
    map(1, 0, IOMMU_RO);
    assert_int_equal(dma_read_at(dma, 300, IOVA + PAGE, buf, 16), -EBUSY);
    stop(dma);
    for (i = 0; i < 256; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, -ECANCELED);
        qemu_sem_destroy(&a[i].sem);
    }
}

/* A transfer whose end waits for a transfer of another thread */
typedef struct Nested {
    Inline a;
    PCIATSDMA *dma;
    Background b;
    bool ended;                 /* the other transfer ended in time */
} Nested;

static void nested_done(void *opaque, int ret)
{
    Nested *n = opaque;

    background_start(&n->b, background_read, n->dma, 300, 1, 16);
    n->ended = !qemu_sem_timedwait(&n->b.ended, 2000);
    inline_done(&n->a, ret);
}

/*
 * A PASID whose notifier runs is not unregistered in favour of another PASID:
 * the notifier may unplug the function, which waits for the other transfer
 */
static void test_no_unregister_in_notifier(void **state)
{
    PCIATSDMA *dma = start();
    g_autofree Nested *n = g_new0(Nested, 1);
    uint8_t buf[16];

    n->dma = dma;
    qemu_sem_init(&n->a.sem, 0);
    qatomic_set(&guest_has_bql, true);
    guest_hold(true);
    map(1, 0, IOMMU_RO);
    bql_lock();
    submit_read(dma, 0, PCI_ATS_DMA_INLINE, 0, n->a.buf, 64, nested_done, n);
    bql_unlock();
    for (unsigned pasid = 1; pasid < 256; pasid++) {
        assert_int_equal(dma_read_at(dma, pasid, IOVA + PAGE, buf, 16), 0);
    }
    guest_hold(false);
    qemu_sem_wait(&n->a.sem);
    assert_true(n->a.with_bql);
    assert_int_equal(background_join(&n->b), 0);
    assert_true(n->ended);
    qemu_sem_destroy(&n->a.sem);
    stop(dma);
}

static void move_page(void)
{
    answer_hook = NULL;
    map(1, 8 * PAGE, IOMMU_RO);
    invalidate(1, 1);
}

/* 10.3.1: an invalidation overtakes the completion of a translation request */
static void test_invalidation_overtakes(void **state)
{
    PCIATSDMA *dma = start();
    uint8_t buf[16];

    map(1, 0, IOMMU_RO);
    answer_hook = move_page;
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    assert_memory_equal(buf, ram + 8 * PAGE, 16);
    assert_int_equal(translations, 2);
    stop(dma);
}

/*
 * Threads write to an input page while its target changes: after the
 * invalidation has returned, no thread writes to the old target.  Each thread
 * has its own pages: threads see each other's entries in the ATC by means of
 * fences, which ThreadSanitizer does not model.
 */
#define STRESS_MOVES    3000
#define STRESS_WRITERS  2

static bool stress_stop;
static PCIATSDMA *stress_dma;

static uint8_t *stress_target(unsigned writer, unsigned which)
{
    return ram + (writer * 2 + which) * PAGE;
}

static void stress_map(unsigned writer, unsigned which)
{
    map(writer, stress_target(writer, which) - ram, IOMMU_RW);
}

static void *stress_writer(void *opaque)
{
    unsigned page = GPOINTER_TO_UINT(opaque);
    uint8_t buf[PAGE];

    rcu_register_thread();
    memset(buf, 0xff, sizeof(buf));
    while (!qatomic_read(&stress_stop)) {
        int ret = dma_write(stress_dma, page, buf, sizeof(buf));

        assert(!ret);
    }
    rcu_unregister_thread();
    return NULL;
}

/* Returns whether the old target had been written to */
static bool stress_move(unsigned writer, unsigned to)
{
    uint8_t *old = stress_target(writer, !to);
    bool written;

    stress_map(writer, to);
    invalidate(1, writer);
    written = old[0] == 0xff;
    memset(old, 0, PAGE);
    g_usleep(20);
    assert_true(buffer_is_zero(old, PAGE));
    return written;
}

static void test_invalidation_race(void **state)
{
    PCIATSDMA *dma = start();
    QemuThread threads[STRESS_WRITERS];
    unsigned i, w, written = 0;

    stress_stop = false;
    stress_dma = dma;
    for (w = 0; w < STRESS_WRITERS; w++) {
        stress_map(w, 0);
        qemu_thread_create(&threads[w], "writer", stress_writer,
                           GUINT_TO_POINTER(w), QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < STRESS_MOVES; i++) {
        for (w = 0; w < STRESS_WRITERS; w++) {
            written += stress_move(w, !(i & 1));
        }
    }
    qatomic_set(&stress_stop, true);
    for (w = 0; w < STRESS_WRITERS; w++) {
        qemu_thread_join(&threads[w]);
    }
    /* Otherwise the test had no effect. */
    assert_true(written > 10);
    stop(dma);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translated),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_untranslated),
        cmocka_unit_test(test_iommu_without_threads),
        cmocka_unit_test(test_blocked),
        cmocka_unit_test(test_mmio),
        cmocka_unit_test(test_suspend),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_ranges_untranslated),
        cmocka_unit_test(test_page_requests),
        cmocka_unit_test(test_page_request_write),
        cmocka_unit_test(test_page_request_responses),
        cmocka_unit_test(test_group_overflow),
        cmocka_unit_test(test_iommu_errors),
        cmocka_unit_test(test_close_with_bql),
        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_ranges_share_allocation),
        cmocka_unit_test(test_ranges_extreme),
        cmocka_unit_test(test_ranges_refused),
        cmocka_unit_test(test_starved),
        cmocka_unit_test(test_cancel_one),
        cmocka_unit_test(test_cancel_in_group),
        cmocka_unit_test(test_end_waits_for_responses),
        cmocka_unit_test(test_settle),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_bql_would_block),
        cmocka_unit_test(test_epoch),
        cmocka_unit_test(test_many_pasids),
        cmocka_unit_test(test_invalidate_all),
        cmocka_unit_test(test_async),
        cmocka_unit_test(test_response_failure),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_inline_page_request),
        cmocka_unit_test(test_inline_reset),
        cmocka_unit_test(test_inline_delayed),
        cmocka_unit_test(test_inline_race),
        cmocka_unit_test(test_close_queued),
        cmocka_unit_test(test_close_waiting),
        cmocka_unit_test(test_close_running),
        cmocka_unit_test(test_close_while_resubmitting),
        cmocka_unit_test(test_close_in_done_inline),
        cmocka_unit_test(test_close_in_done_response),
        cmocka_unit_test(test_close_in_done),
        cmocka_unit_test(test_close_race),
        cmocka_unit_test(test_loaded_groups),
        cmocka_unit_test(test_all_pasids_in_use),
        cmocka_unit_test(test_no_unregister_in_notifier),
        cmocka_unit_test(test_invalidation_overtakes),
        cmocka_unit_test(test_invalidation_race),
    };

    fake_bql_init();
    qemu_mutex_init(&iommu_lock);
    qemu_mutex_init(&guest_lock);
    qemu_cond_init(&guest_cond);
    qemu_cond_init(&guest_responded);

    return cmocka_run_group_tests_name("pci-ats-dma", tests, NULL, NULL);
}
