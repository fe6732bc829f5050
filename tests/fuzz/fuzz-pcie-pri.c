/*
 * Fuzzer of the Page Request capability
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/pci/pcie_pri.c between a fake function and a fake IOMMU, both driven by
 * the input: writes to the registers of any width, requests, responses that
 * are expected or not, registrations and resets.  A plain model of the
 * registers and of the open groups tells what has to come of it.  Section
 * numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "hw/pci/pci-internal.h"
#include "tests/fuzz/fuzz-input.h"
#include "tests/unit/fake-pci.h"

#define CAP         FAKE_PCI_CAP
#define CAPACITY    32
#define PASIDS      3           /* the last one stands for none */
#define PRGIS       4

/* What the guest may write: Enable, Reset, RF, UPRGI, the allocation */
#define RW1C    (PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI)

/* More than an input can have sent */
#define CLOSED_MAX 2048

/* The groups with one index: closed ones, and then one that is not */
typedef struct Groups {
    unsigned closed;
    unsigned requests[CLOSED_MAX];      /* of each, oldest first */
    unsigned abandoned;         /* of @closed, the oldest */
    unsigned unclosed;          /* requests of the one that is not closed */
    unsigned opened;            /* when the first of them was sent */
} Groups;

/* The model */
static bool enable;
static uint16_t status;
static uint32_t alloc;
static Groups groups[PASIDS][PRGIS];
static unsigned requests_sent;
static unsigned responses[PASIDS];

static PCIDevice *dev;
static IOMMUPRINotifier users[PASIDS];
static bool registered[PASIDS];
static unsigned responses_seen[PASIDS];
/* What the IOMMU does with a request, and the user with a response */
static int request_error;
static bool respond_at_once;
static bool unregister_in_response;

static uint32_t pasid_of(unsigned i)
{
    return i == PASIDS - 1 ? PCI_NO_PASID : i;
}

static unsigned index_of(uint32_t pasid)
{
    return pasid == PCI_NO_PASID ? PASIDS - 1 : pasid;
}

typedef struct Sum {
    unsigned requests;
    unsigned unclosed;
    unsigned abandoned;
} Sum;

static Sum sum(void)
{
    Sum all = { };

    for (unsigned i = 0; i < PASIDS * PRGIS; i++) {
        const Groups *g = &groups[i / PRGIS][i % PRGIS];

        for (unsigned j = 0; j < g->closed; j++) {
            all.requests += g->requests[j];
        }
        all.requests += g->unclosed;
        all.unclosed += g->unclosed;
        all.abandoned += g->abandoned;
    }
    return all;
}

/* 10.5.2.3: no response comes to what is not closed */
static void model_update(void)
{
    Sum all = sum();

    if (!enable && all.requests == all.unclosed) {
        status |= PCI_PRI_STATUS_STOPPED;
    }
}

/* The group that has been open for the longest time, but for @keep */
static Groups *model_oldest(const Groups *keep)
{
    Groups *oldest = NULL;

    for (unsigned i = 0; i < PASIDS * PRGIS; i++) {
        Groups *g = &groups[i / PRGIS][i % PRGIS];

        if (g != keep && g->unclosed &&
            (!oldest || g->opened < oldest->opened)) {
            oldest = g;
        }
    }
    return oldest;
}

/* 10.5.2.5: is there room for a request of @g, and later for its last? */
static bool model_has_room(const Groups *g, bool last)
{
    unsigned used = sum().requests + !last + !g->unclosed;

    for (unsigned i = 0; i < PASIDS * PRGIS; i++) {
        used += groups[i / PRGIS][i % PRGIS].unclosed > 0;
    }
    return used <= MIN(alloc, CAPACITY) || (last && g->unclosed);
}

static bool model_make_room(const Groups *g, bool last)
{
    Groups *oldest;

    /* 10.4.1: nor is the index somebody else's */
    if (g->abandoned) {
        return false;
    }
    if (!model_has_room(g, last) && sum().abandoned) {
        return false;
    }
    while (!model_has_room(g, last) && (oldest = model_oldest(g))) {
        oldest->unclosed = 0;
    }
    return true;
}

/* 10.4.2, 10.5.2.3 */
static void model_response(unsigned pasid, unsigned prgi,
                           IOMMUPRIResponseCode code)
{
    Groups *g = &groups[pasid][prgi];

    if (!g->closed && !g->unclosed) {
        status |= PCI_PRI_STATUS_UPRGI;
        return;
    }
    responses[pasid] += !g->abandoned;
    g->abandoned -= !!g->abandoned;
    if (g->closed) {
        g->closed--;
        memmove(g->requests, g->requests + 1,
                g->closed * sizeof(g->requests[0]));
    } else {
        g->unclosed = 0;
    }
    if (code == IOMMU_PRI_RESP_FAILURE) {
        status |= PCI_PRI_STATUS_RF;
    }
    model_update();
}

/* The groups that were closed stay open, but nobody hears of them */
static void model_unregister(unsigned pasid)
{
    for (unsigned i = 0; i < PRGIS; i++) {
        Groups *g = &groups[pasid][i];

        g->unclosed = 0;
        g->abandoned = g->closed;
    }
    model_update();
}

static unsigned model_groups_of(unsigned pasid)
{
    unsigned n = 0;

    for (unsigned i = 0; i < PRGIS; i++) {
        n += groups[pasid][i].closed + (groups[pasid][i].unclosed > 0);
    }
    return n;
}

static unsigned model_groups(void)
{
    unsigned n = 0;

    for (unsigned pasid = 0; pasid < PASIDS; pasid++) {
        n += model_groups_of(pasid);
    }
    return n;
}

/* ---- The fake IOMMU ---- */

static IOMMUPRINotifier *notifiers[PASIDS];

static void respond(unsigned pasid, unsigned prgi, IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = { .response_code = code, .prgi = prgi };

    RCU_READ_LOCK_GUARD();
    if (notifiers[pasid]) {
        model_response(pasid, prgi, code);
        notifiers[pasid]->notify(notifiers[pasid], &response);
    }
}

static int fake_register(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         IOMMUPRINotifier *notifier)
{
    if (!request_error) {
        g_assert_null(notifiers[index_of(pasid)]);
        notifiers[index_of(pasid)] = notifier;
    }
    return request_error;
}

static void fake_unregister(PCIBus *bus, void *opaque, int devfn,
                            uint32_t pasid)
{
    g_assert_nonnull(notifiers[index_of(pasid)]);
    notifiers[index_of(pasid)] = NULL;
}

static int fake_request(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                        bool priv_req, bool exec_req, hwaddr addr, bool lpig,
                        uint16_t prgi, bool is_read, bool is_write)
{
    if (is_read || is_write) {
        Groups *g = &groups[index_of(pasid)][prgi];

        if (request_error) {
            /* Being reopened makes it the youngest */
            g->opened = lpig ? requests_sent++ : g->opened;
            model_update();
            return request_error;
        }
        g->opened = g->unclosed ? g->opened : requests_sent++;
        g->unclosed++;
        if (lpig) {
            g_assert_cmpuint(g->closed, <, CLOSED_MAX);
            g->requests[g->closed++] = g->unclosed;
            g->unclosed = 0;
        }
        if (respond_at_once && lpig) {
            respond(index_of(pasid), prgi, IOMMU_PRI_RESP_SUCCESS);
        }
    }
    return request_error;
}

static const PCIIOMMUOps fake_ops = {
    .pri_register_notifier = fake_register,
    .pri_unregister_notifier = fake_unregister,
    .pri_request_page = fake_request,
};

/* ---- The fake function ---- */

static void user_unregister(unsigned pasid)
{
    if (registered[pasid]) {
        registered[pasid] = false;
        model_unregister(pasid);
    }
    pci_pri_unregister_notifier(dev, pasid_of(pasid));
}

static void user_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    unsigned pasid = n - users;

    g_assert_true(registered[pasid]);
    responses_seen[pasid]++;
    if (unregister_in_response) {
        user_unregister(pasid);
    }
}

static void user_register(unsigned pasid)
{
    /* The IOMMU is not asked while groups of the user before are open */
    int error = notifiers[pasid] ? 0 : request_error;
    int ret = pci_pri_register_notifier(dev, pasid_of(pasid), &users[pasid]);

    if (registered[pasid]) {
        g_assert_cmpint(ret, ==, -EBUSY);
    } else {
        g_assert_cmpint(ret, ==, error);
        registered[pasid] = !ret;
    }
}

static void request(FuzzInput *in, unsigned pasid, uint8_t how)
{
    unsigned prgi = fuzz_take(in, 1) % (PRGIS + 1);
    bool last = how & 1, is_read = how & 2, is_write = how & 4;
    bool enabled = enable && !(status & PCI_PRI_STATUS_RF);
    bool refused = false;
    int ret;

    if (prgi == PRGIS) {
        prgi = PCI_PRGI_MAX + 1;
    } else if (enabled && registered[pasid] && (is_read || is_write)) {
        refused = !model_make_room(&groups[pasid][prgi], last);
    }
    ret = pci_pri_request_page(dev, pasid_of(pasid), false, false, 0, last,
                               prgi, is_read, is_write);
    if (!enabled) {
        g_assert_cmpint(ret, ==, -EPERM);
    } else if (prgi > PCI_PRGI_MAX ||
               (!is_read && !is_write && (!last || pasid == PASIDS - 1)) ||
               ((is_read || is_write) && !registered[pasid] &&
                !unregister_in_response)) {
        g_assert_cmpint(ret, ==, -EINVAL);
    } else if (refused) {
        g_assert_cmpint(ret, ==, -ENOSPC);
    } else if (registered[pasid]) {
        g_assert_cmpint(ret, ==, request_error);
    }
}

/* ---- The guest ---- */

static void model_drop_groups(void)
{
    for (unsigned i = 0; i < PASIDS * PRGIS; i++) {
        Groups *g = &groups[i / PRGIS][i % PRGIS];

        responses[i / PRGIS] += g->closed - g->abandoned + (g->unclosed > 0);
        g->closed = 0;
        g->abandoned = 0;
        g->unclosed = 0;
    }
    model_update();
}

/* 10.5.2.2 to 10.5.2.5, byte by byte */
static void config_write(FuzzInput *in)
{
    unsigned len = 1 << fuzz_take(in, 1) % 3;
    unsigned at = fuzz_take(in, 1) % (PCI_EXT_CAP_PRI_SIZEOF + 8) & -len;
    uint32_t val = fuzz_take(in, len);
    uint32_t addr = CAP - 4 + at;
    bool control = false;
    uint16_t ctrl = 0;

    for (unsigned i = 0; i < len; i++) {
        uint8_t byte = val >> (8 * i);

        switch ((int)(addr + i - CAP)) {
        case PCI_PRI_CTRL:
            control = true;
            ctrl = byte;
            break;
        case PCI_PRI_CTRL + 1:
            control = true;
            ctrl |= (enable && !(i > 0)) ? PCI_PRI_CTRL_ENABLE : 0;
            break;
        case PCI_PRI_STATUS:
            status &= ~(byte & RW1C);
            break;
        case PCI_PRI_ALLOC_REQ ... PCI_PRI_ALLOC_REQ + 3:
            alloc = deposit32(alloc, 8 * (addr + i - CAP - PCI_PRI_ALLOC_REQ),
                              8, byte);
            break;
        }
    }
    if (control) {
        if ((ctrl & PCI_PRI_CTRL_ENABLE) && !enable) {
            status &= ~(RW1C | PCI_PRI_STATUS_STOPPED);
        }
        enable = ctrl & PCI_PRI_CTRL_ENABLE;
        model_update();
        if ((ctrl & PCI_PRI_CTRL_RESET) && !enable) {
            model_drop_groups();
        }
    }
    fake_pci_write(dev, addr, val, len);
    pcie_pri_write_config(dev, addr, val, len);
}

static void reset(void)
{
    enable = false;
    alloc = 0;
    status &= ~RW1C;
    model_update();
    model_drop_groups();
    pcie_pri_reset(dev);
}

static void check(void)
{
    const uint8_t *cap = dev->config + CAP;
    PCIEPRIStats stats;

    pcie_pri_sync_config(dev);
    g_assert_cmphex(pci_get_word(cap + PCI_PRI_CTRL), ==,
                    enable ? PCI_PRI_CTRL_ENABLE : 0);
    g_assert_cmphex(pci_get_word(cap + PCI_PRI_STATUS), ==,
                    status | PCI_PRI_STATUS_PASID);
    g_assert_cmphex(pci_get_long(cap + PCI_PRI_ALLOC_REQ), ==, alloc);
    g_assert_cmphex(pci_get_long(cap + PCI_PRI_MAX_REQ), ==, CAPACITY);
    g_assert_cmphex(pcie_pri_get_req_alloc(dev), ==, MIN(alloc, CAPACITY));
    g_assert_cmpint(pcie_pri_enabled(dev), ==,
                    enable && !(status & PCI_PRI_STATUS_RF));
    pcie_pri_get_stats(dev, &stats);
    g_assert_cmpuint(pcie_pri_outstanding(dev), ==, sum().requests);
    g_assert_cmpuint(stats.groups_open, ==, model_groups());
    for (unsigned i = 0; i < PASIDS; i++) {
        g_assert_cmpuint(responses_seen[i], ==, responses[i]);
        g_assert_cmpint(notifiers[i] != NULL, ==,
                        registered[i] || model_groups_of(i));
    }
}

static void start(void)
{
    dev = fake_pci_new(NULL, &fake_ops);
    pcie_pri_init(dev, CAP, CAPACITY, true);
    enable = false;
    status = PCI_PRI_STATUS_STOPPED;
    alloc = 0;
    request_error = 0;
    requests_sent = 0;
    memset(groups, 0, sizeof(groups));
    memset(responses, 0, sizeof(responses));
    memset(responses_seen, 0, sizeof(responses_seen));
    for (unsigned i = 0; i < PASIDS; i++) {
        users[i].notify = user_notify;
    }
}

static void stop(void)
{
    for (unsigned i = 0; i < PASIDS; i++) {
        user_unregister(i);
    }
    pcie_pri_exit(dev);
    fake_pci_free(dev);
}

static void step(FuzzInput *in)
{
    uint8_t op = fuzz_take(in, 1);
    unsigned pasid = (op >> 3) % PASIDS;

    unregister_in_response = false;
    respond_at_once = false;
    request_error = 0;
    switch (op & 7) {
    case 0:
        config_write(in);
        break;
    case 1:
        request_error = fuzz_flag(op, 7) ? -ENOSPC : 0;
        user_register(pasid);
        break;
    case 2:
        if (registered[pasid]) {
            user_unregister(pasid);
        }
        break;
    case 3:
        unregister_in_response = fuzz_flag(op, 7);
        respond(pasid, fuzz_take(in, 1) % PRGIS, fuzz_take(in, 1) % 3);
        break;
    case 4:
        if (fuzz_flag(op, 7)) {
            reset();
        } else if (fuzz_flag(op, 6)) {
            status |= PCI_PRI_STATUS_UPRGI;
            pcie_pri_unexpected_prgi(dev);
        } else {
            status |= PCI_PRI_STATUS_RF;
            pcie_pri_response_failed(dev);
        }
        break;
    default:
        request_error = fuzz_flag(op, 7) && (op & 1) ? -ENOSPC : 0;
        respond_at_once = fuzz_flag(op, 6);
        unregister_in_response = fuzz_flag(op, 7);
        request(in, pasid, fuzz_take(in, 1));
        break;
    }
    check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size };

    start();
    while (in.size) {
        step(&in);
    }
    stop();
    return 0;
}
