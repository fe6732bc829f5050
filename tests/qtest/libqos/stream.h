/*
 * libqos: migration streams that a test modifies
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBQOS_STREAM_H
#define LIBQOS_STREAM_H

#include "../libqtest.h"
#include "qobject/qdict.h"

/**
 * struct QStream - a migration stream
 * @data: the stream, which a test may modify
 * @len: length of @data, in bytes
 * @vmdesc: the description at the end of the stream
 */
typedef struct QStream {
    uint8_t *data;
    size_t len;
    QDict *vmdesc;
} QStream;

/**
 * qstream_save() - migrate a machine into a stream and quit the emulator
 * @qts: the emulator, which is invalid afterwards
 *
 * Returns: the stream; free it with qstream_free().
 */
QStream *qstream_save(QTestState *qts);

void qstream_free(QStream *s);

/**
 * qstream_field() - find a field; the test fails if it is missing
 * @s: the stream
 * @device: name of the section of the device, without an address: "svm"
 * @path: names of structures or subsections and of the field, separated by
 *        colons: "iommu-intel/pri:pri:queue:saved_regs".  Element N of an
 *        array of structures with different sizes is "name#N", the last one
 *        "name".
 *
 * Returns: the field, in big-endian byte order.
 */
uint8_t *qstream_field(QStream *s, const char *device, const char *path);

/**
 * qstream_add_subsection() - add a subsection behind all others
 * @s: the stream; pointers from qstream_field() become invalid
 * @device: as for qstream_field()
 * @path: path of the structure to which the subsection belongs, as for
 *        qstream_field(); NULL for the device
 * @name: name of the subsection, whose version is 1
 * @data: fields of the subsection
 * @len: length of @data, in bytes
 */
void qstream_add_subsection(QStream *s, const char *device, const char *path,
                            const char *name, const void *data, size_t len);

/**
 * qstream_expect() - load the stream into an emulator
 * @s: the stream
 * @args: arguments of the emulator, with the same devices
 * @error: NULL if the emulator must accept the stream; otherwise the emulator
 *         must reject it, print an error that contains this text, and not exit
 */
void qstream_expect(QStream *s, const char *args, const char *error);

#endif
