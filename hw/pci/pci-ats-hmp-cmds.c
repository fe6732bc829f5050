/*
 * HMP command info pci-ats
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-pci-ats.h"
#include "qemu/cutils.h"

static const char *on_off(bool on)
{
    return on ? "on" : "off";
}

/* Describes a permission of a function. */
static const char *permission(bool supported, bool enabled)
{
    return supported ? on_off(enabled) : "not supported";
}

static void print_ats(Monitor *mon, const PciAtsState *ats)
{
    g_autofree char *stu = size_to_str(ats->stu);

    monitor_printf(mon, "  ATS: %s, smallest translation unit %s\n",
                   on_off(ats->enabled), stu);
}

static void print_pasid_state(Monitor *mon, const PciPasidState *pasid)
{
    monitor_printf(mon, "  PASID: %s, %u bits, execute %s, privileged %s\n",
                   on_off(pasid->enabled), pasid->width,
                   permission(pasid->exec_supported, pasid->exec_enabled),
                   permission(pasid->priv_supported, pasid->priv_enabled));
}

static void print_pri(Monitor *mon, const PciPriState *pri)
{
    monitor_printf(mon, "  PRI: %s, %u of %u page requests outstanding, "
                   "capacity %u%s%s%s%s\n", on_off(pri->enabled),
                   pri->outstanding, pri->allocation, pri->capacity,
                   pri->stopped ? ", stopped" : "",
                   pri->response_failure ? ", response failure" : "",
                   pri->unexpected_prgi ? ", unexpected group index" : "",
                   pri->response_pasid ? ", PASID in responses" : "");
}

static void print_translations(Monitor *mon, const PciAtsTranslations *t)
{
    monitor_printf(mon, "  Translation requests: %" PRIu64 " (%" PRIu64
                   " failed, %" PRIu64 " truncated), %" PRIu64
                   " translations (%" PRIu64 " without permission)\n",
                   t->requests, t->failed, t->truncated, t->translations,
                   t->denied);
}

static void print_page_requests(Monitor *mon, const PciPageRequests *r)
{
    monitor_printf(mon, "  Page requests: %" PRIu64 " (%" PRIu64
                   " overflowed, %" PRIu64 " refused)\n", r->requests,
                   r->overflows, r->refused);
    monitor_printf(mon, "  Page request groups: %" PRIu64 " outstanding, %"
                   PRIu64 " success, %" PRIu64 " invalid, %" PRIu64
                   " failure, %" PRIu64 " dropped; %" PRIu64
                   " unexpected responses\n",
                   r->groups_open, r->success, r->invalid_request, r->failure,
                   r->dropped, r->unexpected);
}

static void print_invalidations(Monitor *mon, const PciAtsInvalidations *inv)
{
    monitor_printf(mon, "  Invalidations: %" PRIu64 " without PASID, %" PRIu64
                   " of a PASID, %" PRIu64 " of all PASIDs\n", inv->no_pasid,
                   inv->pasid, inv->all_pasids);
}

static void print_atc(Monitor *mon, const PciAtsAtcInfo *info)
{
    const PciAtcStats *s = &info->u.atc;

    monitor_printf(mon, "  ATC: %" PRIu64 " of %" PRIu64 " entries, %" PRIu64
                   " hits, %" PRIu64 " misses\n", info->entries,
                   info->capacity, s->hits, s->misses);
    monitor_printf(mon, "    %" PRIu64 " filled, %" PRIu64 " updated, %" PRIu64
                   " refused, %" PRIu64 " rejected, %" PRIu64 " evicted\n",
                   s->fills, s->updates, s->refused, s->rejected,
                   s->evictions);
    monitor_printf(mon, "    %" PRIu64 " invalidations dropped %" PRIu64 "\n",
                   s->invalidations, s->dropped);
}

static void print_vhost(Monitor *mon, const PciAtsAtcInfo *info)
{
    const PciVhostIotlbStats *s = &info->u.vhost;

    monitor_printf(mon, "  vhost IOTLB: %" PRIu64 " of %" PRIu64
                   " entries, %" PRIu64 " misses (%" PRIu64 " faults), %"
                   PRIu64 " updates\n", info->entries, info->capacity,
                   s->misses, s->faults, s->updates);
    monitor_printf(mon, "    %" PRIu64 " invalidations dropped %" PRIu64
                   ", kept %" PRIu64 "; %" PRIu64 " round trips, %" PRIu64
                   " us\n", s->invalidations, s->dropped, s->kept,
                   s->round_trips, s->wait_ns / 1000);
}

static void print_atcs(Monitor *mon, const PciAtsAtcInfoList *atcs)
{
    for (; atcs; atcs = atcs->next) {
        if (atcs->value->type == PCI_ATS_ATC_TYPE_ATC) {
            print_atc(mon, atcs->value);
        } else {
            print_vhost(mon, atcs->value);
        }
    }
}

static void print_pasid(Monitor *mon, const PciAtsPasid *p)
{
    const PciAtsInvalidations *inv = p->invalidations;
    const PciPageRequests *r = p->page_requests;

    if (p->has_pasid) {
        monitor_printf(mon, "    %8u", p->pasid);
    } else {
        monitor_printf(mon, "        none");
    }
    monitor_printf(mon, " %8" PRIu64 " %13" PRIu64 " %11" PRIu64 " %8" PRIu64
                   "\n", p->entries,
                   inv ? inv->no_pasid + inv->pasid + inv->all_pasids : 0,
                   r ? r->groups_open : 0,
                   r ? r->success + r->invalid_request + r->failure : 0);
}

static void print_pasids(Monitor *mon, const PciAtsPasidList *pasids)
{
    if (pasids) {
        monitor_printf(mon, "  PASIDs:\n       PASID  entries invalidations "
                       "groups open answered\n");
    }
    for (; pasids; pasids = pasids->next) {
        print_pasid(mon, pasids->value);
    }
}

static void print_function(Monitor *mon, const PciAtsDevice *dev)
{
    monitor_printf(mon, "%02x:%02x.%u %s", dev->bus, dev->slot, dev->function,
                   dev->type);
    if (dev->qdev_id) {
        monitor_printf(mon, " \"%s\"", dev->qdev_id);
    }
    monitor_printf(mon, "\n  Bus master: %s\n", on_off(dev->bus_master));
    if (dev->ats) {
        print_ats(mon, dev->ats);
    }
    if (dev->pasid) {
        print_pasid_state(mon, dev->pasid);
    }
    if (dev->pri) {
        print_pri(mon, dev->pri);
    }
    print_translations(mon, dev->translations);
    if (dev->page_requests) {
        print_page_requests(mon, dev->page_requests);
    }
    print_invalidations(mon, dev->invalidations);
    print_atcs(mon, dev->caches);
    print_pasids(mon, dev->pasids);
}

void hmp_info_pci_ats(Monitor *mon, const QDict *qdict)
{
    g_autoptr(PciAtsDeviceList) devices = qmp_query_pci_ats(&error_abort);

    if (!devices) {
        monitor_printf(mon, "No PCI device has ATS, PASID or PRI\n");
    }
    for (PciAtsDeviceList *d = devices; d; d = d->next) {
        print_function(mon, d->value);
    }
}
