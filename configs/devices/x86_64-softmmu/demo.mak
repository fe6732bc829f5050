# SPDX-License-Identifier: GPL-2.0-or-later
#
# The devices of the demos and of scripts/run-guest (./configure --demo)

CONFIG_Q35=y
CONFIG_HPET=y
CONFIG_PCIE_PORT=y
CONFIG_VTD=y
CONFIG_AMD_IOMMU=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_IOMMU=y
CONFIG_VIRTIO_NET=y
CONFIG_SVM_DEMO=y
CONFIG_DSA=y
CONFIG_EDU=y
