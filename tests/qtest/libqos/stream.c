/*
 * libqos: migration streams that a test modifies
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A stream ends with a description in JSON, which lists the fields of each
 * device and their sizes.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "pci-ats-testdev.h"
#include "stream.h"

/* Section types of migration/savevm.h, which tests cannot include */
enum {
    SECTION_FULL = 0x04,
    SUBSECTION = 0x05,
    DESCRIPTION = 0x06,
};

/* ---- Streams ---- */

static QDict *parse_description(const QStream *s)
{
    for (size_t i = s->len - 5; i > 0; i--) {
        if (s->data[i] == DESCRIPTION &&
            ldl_be_p(s->data + i + 1) == s->len - i - 5) {
            g_autofree char *text = g_strndup((char *)s->data + i + 5,
                                              s->len - i - 5);

            return qobject_to(QDict, qobject_from_json(text, &error_abort));
        }
    }
    g_assert_not_reached();
}

QStream *qstream_save(QTestState *qts)
{
    g_autofree char *path = qatd_save_machine(qts);
    QStream *s = g_new0(QStream, 1);

    g_assert_true(g_file_get_contents(path, (char **)&s->data, &s->len, NULL));
    unlink(path);
    s->vmdesc = parse_description(s);
    return s;
}

void qstream_free(QStream *s)
{
    qobject_unref(s->vmdesc);
    g_free(s->data);
    g_free(s);
}

/* ---- Fields ---- */

static size_t element_size(QDict *field)
{
    return qdict_get_int(field, "size") *
           qdict_get_try_int(field, "array_len", 1);
}

/* Returns whether the first part of @path is the name of @field */
static bool field_matches(QDict *field, const char *path)
{
    size_t len = strcspn(path, ":");
    const char *name = qdict_get_str(field, "name");
    g_autofree char *indexed = NULL;

    if (qdict_haskey(field, "index")) {
        indexed = g_strdup_printf("%s#%d", name,
                                  (int)qdict_get_int(field, "index"));
        name = indexed;
    }
    return strlen(name) == len && !strncmp(name, path, len);
}

static size_t description_size(QDict *vmsd);

/* Size of type, name and version, which precede the fields of a subsection */
static size_t subsection_header(QDict *vmsd)
{
    return 2 + strlen(qdict_get_str(vmsd, "vmsd_name")) + 4;
}

static size_t fields_size(QDict *vmsd)
{
    const QListEntry *entry;
    size_t size = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(vmsd, "fields"), entry) {
        size += element_size(qobject_to(QDict, qlist_entry_obj(entry)));
    }
    return size;
}

static size_t description_size(QDict *vmsd)
{
    const QListEntry *entry;
    size_t size = fields_size(vmsd);

    if (qdict_haskey(vmsd, "subsections")) {
        QLIST_FOREACH_ENTRY(qdict_get_qlist(vmsd, "subsections"), entry) {
            QDict *sub = qobject_to(QDict, qlist_entry_obj(entry));

            size += subsection_header(sub) + description_size(sub);
        }
    }
    return size;
}

static QDict *find_field(QDict *vmsd, size_t *place, const char *path);

static QDict *find_subsection(QDict *vmsd, size_t *place, const char *path)
{
    size_t len = strcspn(path, ":");
    const QListEntry *entry;

    g_assert_true(qdict_haskey(vmsd, "subsections"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(vmsd, "subsections"), entry) {
        QDict *sub = qobject_to(QDict, qlist_entry_obj(entry));
        const char *name = qdict_get_str(sub, "vmsd_name");

        *place += subsection_header(sub);
        if (strlen(name) == len && !strncmp(name, path, len)) {
            return find_field(sub, place, path + len + 1);
        }
        *place += description_size(sub);
    }
    g_error("no %s in the stream", path);
}

/* Advances @place from the start of @vmsd to the field; returns the field */
static QDict *find_field(QDict *vmsd, size_t *place, const char *path)
{
    size_t len = strcspn(path, ":");
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(vmsd, "fields"), entry) {
        QDict *field = qobject_to(QDict, qlist_entry_obj(entry));

        if (field_matches(field, path)) {
            return !path[len] ? field :
                   find_field(qdict_get_qdict(field, "struct"), place,
                              path + len + 1);
        }
        *place += element_size(field);
    }
    return find_subsection(vmsd, place, path);
}

/* Returns the offset of the state of a device, behind its section header */
static size_t find_section(const QStream *s, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 5; i + len + 9 < s->len; i++) {
        if (s->data[i] == len && s->data[i - 5] == SECTION_FULL &&
            !memcmp(s->data + i + 1, name, len)) {
            return i + 1 + len + 8;
        }
    }
    g_error("no %s in the stream", name);
}

/* The names of PCI devices begin with an address */
static bool device_matches(const char *name, const char *device)
{
    const char *behind = strrchr(name, '/');

    return !strcmp(name, device) || (behind && !strcmp(behind + 1, device));
}

static QDict *find_device(const QStream *s, const char *device, size_t *place)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(s->vmdesc, "devices"), entry) {
        QDict *vmsd = qobject_to(QDict, qlist_entry_obj(entry));
        const char *name = qdict_get_str(vmsd, "name");

        if (device_matches(name, device)) {
            *place = find_section(s, name);
            return vmsd;
        }
    }
    g_error("no %s in the stream", device);
}

uint8_t *qstream_field(QStream *s, const char *device, const char *path)
{
    size_t place;
    QDict *vmsd = find_device(s, device, &place);

    find_field(vmsd, &place, path);
    return s->data + place;
}

void qstream_add_subsection(QStream *s, const char *device, const char *path,
                            const char *name, const void *data, size_t len)
{
    size_t place, name_len = strlen(name), added = 2 + name_len + 4 + len;
    QDict *vmsd = find_device(s, device, &place);
    uint8_t *p;

    if (path) {
        vmsd = qdict_get_qdict(find_field(vmsd, &place, path), "struct");
    }
    place += description_size(vmsd);
    s->data = g_realloc(s->data, s->len + added);
    p = s->data + place;
    memmove(p + added, p, s->len - place);
    s->len += added;
    *p++ = SUBSECTION;
    *p++ = name_len;
    memcpy(p, name, name_len);
    stl_be_p(p + name_len, 1);
    memcpy(p + name_len + 4, data, len);
}

/* ---- Loading ---- */

void qstream_expect(QStream *s, const char *args, const char *error)
{
    g_autofree char *path = qatd_temporary_file();
    g_autofree char *log = qatd_temporary_file();
    g_autofree char *end = NULL, *text = NULL;
    QTestState *qts = qtest_initf("%s -incoming defer 2>%s", args, log);

    g_assert_true(g_file_set_contents(path, (char *)s->data, s->len, NULL));
    end = qatd_try_load_machine(qts, path);
    qtest_quit(qts);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    unlink(path);
    unlink(log);
    g_assert_cmpstr(end, ==, error ? "failed" : "completed");
    if (error && !strstr(text, error)) {
        g_error("expected \"%s\" in: %s", error, text);
    }
}
