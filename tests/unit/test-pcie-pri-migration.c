/*
 * Unit tests for the Page Request capability: migration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The groups that are outstanding in the source are so in the destination;
 * streams with invalid groups are refused.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "io/channel-buffer.h"
#include "migration/qemu-file.h"
#include "migration/qemu-file-types.h"
#include "migration/savevm.h"
#include "migration/vmstate.h"
#include "qemu/module.h"
#include "fake-pri.h"

/* The words of a group in the stream */
enum {
    SAVED_PASID,
    SAVED_PRGI,
    SAVED_REQUESTS,
    SAVED_LAST_REQUESTS,
    SAVED_ABANDONED,
    SAVED_WORDS
};

/* Saves and loads; changes @word of the last group, unless it is SAVED_WORDS */
static int migrate_changed(PCIDevice *from, PCIDevice *to, unsigned word,
                           uint32_t value)
{
    QIOChannelBuffer *bioc = qio_channel_buffer_new(4096);
    QEMUFile *out = qemu_file_new_output(QIO_CHANNEL(bioc));
    QEMUFile *in = qemu_file_new_input(QIO_CHANNEL(bioc));
    int ret;

    assert_int_equal(vmstate_save_state(out, &vmstate_pcie_pri, from, NULL), 0);
    qemu_put_byte(out, QEMU_VM_EOF);
    qemu_fflush(out);
    if (word < SAVED_WORDS) {
        stl_be_p(bioc->data + bioc->usage - 1 - (SAVED_WORDS - word) * 4,
                 value);
    }
    qio_channel_io_seek(QIO_CHANNEL(bioc), 0, SEEK_SET, NULL);
    ret = vmstate_load_state(in, &vmstate_pcie_pri, to, 1);
    qemu_fclose(in);
    qemu_fclose(out);
    object_unref(OBJECT(bioc));
    return ret;
}

static int migrate(PCIDevice *from, PCIDevice *to)
{
    return migrate_changed(from, to, SAVED_WORDS, 0);
}

/* Creates a function that will migrate, with a user of PASID 1 */
static PCIDevice *migration_source(User *user)
{
    PCIDevice *dev = fake_pri_new();

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(user, dev, 1);
    return dev;
}

/* Ends the source, since both functions share the fake IOMMU */
static void finish_migration(PCIDevice *from, PCIDevice *to)
{
    pcie_pri_sync_config(from);
    memcpy(to->config, from->config, PCIE_CONFIG_SPACE_SIZE);
    pcie_pri_reset(from);
    pci_pri_unregister_notifier(from, 1);
    pcie_pri_post_load(to);
}

/* Groups that are outstanding at the source are so at the destination */
static void test_migration(void **state)
{
    PCIDevice *to = fake_pri_new();
    User a, b;
    PCIDevice *from = migration_source(&a);

    assert_false(vmstate_pcie_pri.needed(from));
    assert_int_equal(send_request(from, 1, 5, true), 0);
    assert_int_equal(send_request(from, 1, 6, false), 0);
    assert_int_equal(send_request(from, 1, 6, true), 0);
    write_ctrl(from, 0);
    assert_true(vmstate_pcie_pri.needed(from));

    assert_int_equal(migrate(from, to), 0);
    finish_migration(from, to);
    assert_int_equal(pcie_pri_outstanding(to), 3);
    assert_int_equal(read_status(to), 0);

    user_start(&b, to, 1);
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 1);
    assert_int_equal(read_status(to), 0);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(read_status(to), PCI_PRI_STATUS_STOPPED);
    assert_int_equal(b.responses, 2);
    pci_pri_unregister_notifier(to, 1);

    /* A function without the capability refuses the subsection. */
    pcie_pri_exit(to);
    assert_int_equal(migrate(from, to), -EINVAL);
    fake_pri_free(from);
    fake_pri_free(to);
}

/* 10.5.2.3: Stopped is set also if no user registers after the migration */
static void test_migration_without_user(void **state)
{
    PCIDevice *to = fake_pri_new();
    User a;
    PCIDevice *from = migration_source(&a);

    assert_int_equal(send_request(from, 1, 5, true), 0);
    assert_int_equal(send_request(from, 1, 6, true), 0);
    write_ctrl(from, 0);
    assert_int_equal(migrate(from, to), 0);
    finish_migration(from, to);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    assert_int_equal(read_status(to), PCI_PRI_STATUS_STOPPED);
    assert_null(fake_iommu.notifiers[1]);
    fake_pri_free(from);
    fake_pri_free(to);
}

/* 10.5.2.5: requests of loaded groups count in the allocation */
static void test_migration_allocation(void **state)
{
    PCIDevice *to = fake_pri_new();
    User a;
    PCIDevice *from = migration_source(&a);

    write_alloc(from, 2);
    assert_int_equal(send_request(from, 1, 5, true), 0);
    assert_int_equal(send_request(from, 1, 6, true), 0);
    assert_int_equal(migrate(from, to), 0);
    finish_migration(from, to);
    assert_true(pcie_pri_has_loaded_groups(to, 1));
    assert_false(pcie_pri_has_loaded_groups(to, 2));
    user_start(&a, to, 1);
    assert_int_equal(send_request(to, 1, 7, true), -ENOSPC);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(send_request(to, 1, 6, true), -ENOSPC);
    assert_int_equal(send_request(to, 1, 7, true), 0);
    assert_int_equal(send_request(to, 1, 8, true), -ENOSPC);
    assert_true(pcie_pri_has_loaded_groups(to, 1));
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_false(pcie_pri_has_loaded_groups(to, 1));
    fake_respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    pci_pri_unregister_notifier(to, 1);
    fake_pri_free(from);
    fake_pri_free(to);
}

/*
 * While there are loaded groups, groups that are being sent are not dropped for
 * others
 */
static void test_migration_sending(void **state)
{
    PCIDevice *to = fake_pri_new();
    User a;
    PCIDevice *from = migration_source(&a);

    write_alloc(from, 4);
    assert_int_equal(send_request(from, 1, 5, true), 0);
    assert_int_equal(send_request(from, 1, 6, true), 0);
    assert_int_equal(migrate(from, to), 0);
    finish_migration(from, to);
    user_start(&a, to, 1);
    assert_int_equal(send_request(to, 1, 7, false), 0);
    assert_int_equal(send_request(to, 1, 8, true), -ENOSPC);
    assert_int_equal(send_request(to, 1, 7, true), 0);
    fake_respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 2);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    pci_pri_unregister_notifier(to, 1);
    fake_pri_free(from);
    fake_pri_free(to);
}

/* The stream does not contain groups that are not closed: no response is due */
static void test_migration_unclosed(void **state)
{
    PCIDevice *to = fake_pri_new();
    User a;
    PCIDevice *from = migration_source(&a);

    assert_int_equal(send_request(from, 1, 6, false), 0);
    assert_false(vmstate_pcie_pri.needed(from));
    assert_int_equal(send_request(from, 1, 5, true), 0);
    assert_int_equal(send_request(from, 1, 5, false), 0);
    assert_true(vmstate_pcie_pri.needed(from));
    write_ctrl(from, 0);
    assert_int_equal(migrate(from, to), 0);
    assert_int_equal(pcie_pri_outstanding(from), 3);
    assert_int_equal(pcie_pri_outstanding(to), 1);
    finish_migration(from, to);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(read_status(to), PCI_PRI_STATUS_STOPPED);
    assert_null(fake_iommu.notifiers[1]);
    fake_pri_free(from);
    fake_pri_free(to);
}

/* If the IOMMU refuses a listener, no response is due */
static void test_migration_refused(void **state)
{
    PCIDevice *to = fake_pri_new();
    User a;
    PCIDevice *from = migration_source(&a);

    assert_int_equal(send_request(from, 1, 5, true), 0);
    write_ctrl(from, 0);
    assert_int_equal(migrate(from, to), 0);
    fake_iommu.register_error = -ENODEV;
    finish_migration(from, to);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    assert_int_equal(read_status(to), PCI_PRI_STATUS_STOPPED);
    fake_pri_free(from);
    fake_pri_free(to);
}

/* A stream with impossible groups */
static void test_migration_invalid(void **state)
{
    PCIDevice *to = fake_pri_new();
    User a;
    PCIDevice *from = migration_source(&a);

    assert_int_equal(send_request(from, 1, 5, true), 0);
    assert_int_equal(migrate_changed(from, to, SAVED_PASID, PCI_PASID_MAX + 1),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_PASID, PCI_NO_PASID - 1),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_PRGI, PCI_PRGI_MAX + 1),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_REQUESTS, 0), -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_LAST_REQUESTS, 2),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_ABANDONED, 2), -EINVAL);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    /* Too many requests, and the same group twice */
    assert_int_equal(send_request(from, 1, 6, true), 0);
    assert_int_equal(migrate_changed(from, to, SAVED_REQUESTS, UINT32_MAX),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_LAST_REQUESTS, 0), 0);
    assert_int_equal(migrate_changed(from, to, SAVED_PRGI, 5) +
                     migrate_changed(from, to, SAVED_PRGI, 6), -EINVAL);
    pcie_pri_reset(from);
    pci_pri_unregister_notifier(from, 1);
    fake_pri_free(from);
    fake_pri_free(to);
}

/* The maximum number of groups in a stream, with PASIDs that it chooses */
#define MANY_GROUPS     65536

/* Chooses indices so that a single hash over PASID and index is constant */
static uint32_t many_prgi(uint32_t pasid)
{
    return -(pasid * 0x9e3779b1u >> 16) & PCI_PRGI_MAX;
}

static void put_group(QEMUFile *f, uint32_t pasid, uint32_t prgi)
{
    qemu_put_be32(f, pasid);
    qemu_put_be32(f, prgi);
    qemu_put_be32(f, 1);        /* requests */
    qemu_put_be32(f, 1);        /* last_requests */
    qemu_put_be32(f, 0);        /* abandoned */
}

/* Work per group that grows with their number exceeds the test's time limit */
static void test_migration_many(void **state)
{
    QIOChannelBuffer *bioc = qio_channel_buffer_new(MANY_GROUPS * 20 + 8);
    QEMUFile *out = qemu_file_new_output(QIO_CHANNEL(bioc));
    QEMUFile *in = qemu_file_new_input(QIO_CHANNEL(bioc));
    PCIDevice *to = fake_pri_new();

    qemu_put_be32(out, MANY_GROUPS);
    for (uint32_t pasid = 0; pasid < MANY_GROUPS; pasid++) {
        put_group(out, pasid, many_prgi(pasid));
    }
    qemu_put_byte(out, QEMU_VM_EOF);
    qemu_fflush(out);
    qio_channel_io_seek(QIO_CHANNEL(bioc), 0, SEEK_SET, NULL);
    assert_int_equal(vmstate_load_state(in, &vmstate_pcie_pri, to, 1), 0);
    assert_int_equal(pcie_pri_outstanding(to), MANY_GROUPS);
    pcie_pri_reset(to);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    qemu_fclose(in);
    qemu_fclose(out);
    object_unref(OBJECT(bioc));
    fake_pri_free(to);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_migration),
        cmocka_unit_test(test_migration_without_user),
        cmocka_unit_test(test_migration_allocation),
        cmocka_unit_test(test_migration_sending),
        cmocka_unit_test(test_migration_unclosed),
        cmocka_unit_test(test_migration_refused),
        cmocka_unit_test(test_migration_invalid),
        cmocka_unit_test(test_migration_many),
    };

    module_call_init(MODULE_INIT_QOM);
    return cmocka_run_group_tests_name("pcie-pri-migration", tests, NULL, NULL);
}
