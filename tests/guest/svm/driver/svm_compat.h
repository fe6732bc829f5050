/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differences between the kernels that the svm driver supports.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#ifndef SVM_COMPAT_H
#define SVM_COMPAT_H

#include <linux/iommu.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)

/* Older kernels require that drivers enable shared virtual addressing. */
static inline int svm_enable_sva(struct device *dev)
{
	int ret = iommu_dev_enable_feature(dev, IOMMU_DEV_FEAT_IOPF);

	if (ret)
		return ret;
	ret = iommu_dev_enable_feature(dev, IOMMU_DEV_FEAT_SVA);
	if (ret)
		iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_IOPF);
	return ret;
}

static inline void svm_disable_sva(struct device *dev)
{
	iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_SVA);
	iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_IOPF);
}

#else

static inline int svm_enable_sva(struct device *dev)
{
	return 0;
}

static inline void svm_disable_sva(struct device *dev)
{
}

#endif

static inline struct iommu_sva *svm_bind_mm(struct device *dev,
					    struct mm_struct *mm)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	return iommu_sva_bind_device(dev, mm, NULL);
#else
	return iommu_sva_bind_device(dev, mm);
#endif
}

#endif
