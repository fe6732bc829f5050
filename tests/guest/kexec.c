/*
 * Boot another kernel from this one: kexec [-p] KERNEL INITRD COMMAND-LINE
 *
 * Drivers shut their devices down (reboot(2), LINUX_REBOOT_CMD_KEXEC), but
 * processes are not terminated.  With -p the kernel is loaded for a panic; it
 * then starts while the devices are in use.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_or_print_error(const char *path)
{
    int fd = open(path, O_RDONLY);

    if (fd < 0) {
        perror(path);
    }
    return fd;
}

int main(int argc, char **argv)
{
    int panic = argc > 1 && !strcmp(argv[1], "-p");
    int kernel, initrd;

    argv += panic;
    if (argc != 4 + panic) {
        fprintf(stderr, "Usage: kexec [-p] KERNEL INITRD COMMAND-LINE\n");
        return 2;
    }
    kernel = open_or_print_error(argv[1]);
    initrd = open_or_print_error(argv[2]);
    if (kernel < 0 || initrd < 0) {
        return 1;
    }
    if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1,
                argv[3], panic ? KEXEC_FILE_ON_CRASH : 0ul)) {
        perror("kexec_file_load");
        return 1;
    }
    if (panic) {
        return 0;
    }
    syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
            LINUX_REBOOT_CMD_KEXEC, NULL);
    perror("reboot");
    return 1;
}
