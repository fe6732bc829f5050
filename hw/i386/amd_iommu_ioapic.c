/*
 * AMD-Vi: the PCI function that contains the I/O APIC
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/pci/pci_device.h"
#include "amd_iommu.h"
#include "amd_iommu_ioapic.h"

#define TYPE_AMDVI_IOAPIC_FUNCTION  "amd-iommu-ioapic-function"
#define DEVICE_ID                   0x11ed

typedef struct AMDVIIOAPICFunction {
    PCIDevice dev;
} AMDVIIOAPICFunction;

bool amdvi_add_ioapic_function(PCIBus *bus, Error **errp)
{
    PCIDevice *dev = pci_new(AMDVI_IOAPIC_SB_DEVID,
                             TYPE_AMDVI_IOAPIC_FUNCTION);

    if (!pci_realize_and_unref(dev, bus, errp)) {
        error_prepend(errp, "svm=on needs 00:14.0: ");
        return false;
    }
    return true;
}

static const VMStateDescription vmstate_amdvi_ioapic_function = {
    .name = TYPE_AMDVI_IOAPIC_FUNCTION,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(dev, AMDVIIOAPICFunction),
        VMSTATE_END_OF_LIST()
    }
};

static void amdvi_ioapic_function_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = DEVICE_ID;
    k->class_id = PCI_CLASS_SERIAL_SMBUS;
    dc->vmsd = &vmstate_amdvi_ioapic_function;
    dc->desc = "AMD IOMMU: the function that contains the I/O APIC";
    dc->hotpluggable = false;
    /* Reason: part of amd-iommu */
    dc->user_creatable = false;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo amdvi_ioapic_function = {
    .name = TYPE_AMDVI_IOAPIC_FUNCTION,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(AMDVIIOAPICFunction),
    .class_init = amdvi_ioapic_function_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { },
    },
};

static void amdvi_ioapic_function_register(void)
{
    type_register_static(&amdvi_ioapic_function);
}

type_init(amdvi_ioapic_function_register);
