/*
 * libqos: migration streams that a test changes
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
 * @data: its bytes, which a test may change
 * @len: their number
 * @vmdesc: what it says about itself at its end
 */
typedef struct QStream {
    uint8_t *data;
    size_t len;
    QDict *vmdesc;
} QStream;

/**
 * qstream_save() - migrate a machine into a stream, and end the emulator
 * @qts: the emulator; not usable any more
 *
 * Returns: the stream, to be freed by qstream_free().
 */
QStream *qstream_save(QTestState *qts);

void qstream_free(QStream *s);

/**
 * qstream_field() - find a field; the test fails if there is none
 * @s: the stream
 * @device: name of the device's section, without its address: "svm"
 * @path: names of structures or subsections and then of a field, separated by
 *        colons: "iommu-intel/pri:pri:saved_regs".  Element N of an array
 *        whose structures differ in size is "name#N", but the last "name".
 *
 * Returns: where the field is, in big-endian byte order.
 */
uint8_t *qstream_field(QStream *s, const char *device, const char *path);

/**
 * qstream_add_subsection() - add a subsection behind all others
 * @s: the stream; what qstream_field() has returned is invalid from here on
 * @device: as for qstream_field()
 * @path: of a structure of the device, as for qstream_field(), which the
 *        subsection belongs to; NULL for the device itself
 * @name: of the subsection, whose version is 1
 * @data: its fields
 * @len: of @data, in bytes
 */
void qstream_add_subsection(QStream *s, const char *device, const char *path,
                            const char *name, const void *data, size_t len);

/**
 * qstream_expect() - load the stream into an emulator
 * @s: the stream
 * @args: arguments of the emulator: the same devices
 * @error: NULL if the stream has to be accepted; else the emulator has to
 *         refuse it, to go on, and to print an error that contains this
 */
void qstream_expect(QStream *s, const char *args, const char *error);

#endif
