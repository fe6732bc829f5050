// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Linux driver of QEMU's svm demo device (PCI 1234:0b11).
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * Each device becomes a character device; the first is /dev/svm. Opening it
 * gives the device the address space of the process: the device reads and
 * writes at the pointers that the program passes with the ioctls of
 * svm_ioctl.h.
 */

#include <linux/bitfield.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "svm_compat.h"
#include "svm_ioctl.h"

#define SVM_DEVICE_ID	0x0b11

#define SVM_BAR		0
#define SVM_REG_START	0x00
#define SVM_REG_ADDR	0x08	/* write: address, read: result */
#define SVM_REG_CRC	0x10
#define SVM_REG_SIZE	0x18
#define SVM_REG_OPTIONS	0x20
#define SVM_REG_PASID	0x50

#define SVM_IDENTITY	0x0b1c5111ULL
#define SVM_WRITE	1
#define SVM_READ	2
#define SVM_NO_PASID	BIT(20)

static unsigned int stop_timeout = 30;
module_param(stop_timeout, uint, 0644);
MODULE_PARM_DESC(stop_timeout, "seconds that a device may take to stop after it "
		 "has lost its PASID (default 30)");

struct svm_device {
	struct kref refs;	/* of the PCI driver, and of the open file */
	int id;
	char name[16];
	struct miscdevice misc;

	struct mutex lock;	/* protects the fields below; not held while
				 * waiting for the end of an operation */
	struct pci_dev *pdev;	/* NULL after the device has been removed */
	void __iomem *regs;
	struct iommu_sva *sva;
	void *kmem;
	bool open;
	bool aborted;		/* the operation ended without the device */

	wait_queue_head_t idle;
	bool busy;		/* set under lock, cleared by the interrupt */
	u64 result;		/* of the last operation; valid if not busy */
};

static DEFINE_IDA(svm_ids);

static void svm_free(struct kref *refs)
{
	struct svm_device *svm = container_of(refs, struct svm_device, refs);

	ida_free(&svm_ids, svm->id);
	kfree(svm);
}

static irqreturn_t svm_interrupt(int irq, void *opaque)
{
	struct svm_device *svm = opaque;

	/* Read the result here, because a reset may clear it. */
	svm->result = readq(svm->regs + SVM_REG_ADDR);
	smp_store_release(&svm->busy, false);
	wake_up_all(&svm->idle);
	return IRQ_HANDLED;
}

static void svm_abort(struct svm_device *svm)
{
	if (READ_ONCE(svm->busy)) {
		svm->aborted = true;
		WRITE_ONCE(svm->busy, false);
		wake_up_all(&svm->idle);
	}
}

/*
 * Remove the address space from the device, and wait until it stops using it.
 */
static void svm_quiesce(struct svm_device *svm)
{
	struct device *dev = &svm->pdev->dev;

	if (!pci_device_is_present(svm->pdev)) {
		svm_abort(svm);
		return;
	}
	writel(SVM_NO_PASID, svm->regs + SVM_REG_PASID);
	if (!wait_event_timeout(svm->idle, !READ_ONCE(svm->busy),
				stop_timeout * HZ)) {
		dev_err(dev, "does not stop, taking its bus from it\n");
		pci_clear_master(svm->pdev);
		svm_abort(svm);
	}
}

static int svm_bind(struct svm_device *svm)
{
	struct device *dev = &svm->pdev->dev;
	struct iommu_sva *sva;
	u32 pasid;
	int ret = svm_enable_sva(dev);

	if (ret)
		return ret;
	sva = svm_bind_mm(dev, current->mm);
	if (IS_ERR(sva)) {
		svm_disable_sva(dev);
		return PTR_ERR(sva);
	}
	pasid = iommu_sva_get_pasid(sva);
	if (pasid == IOMMU_PASID_INVALID) {
		iommu_sva_unbind_device(sva);
		svm_disable_sva(dev);
		return -ENODEV;
	}
	svm->sva = sva;
	pci_set_master(svm->pdev);
	/* Reset the options of the process that used the device before. */
	writeq(0, svm->regs + SVM_REG_OPTIONS);
	writel(pasid, svm->regs + SVM_REG_PASID);
	return 0;
}

static void svm_unbind(struct svm_device *svm)
{
	if (!svm->sva)
		return;
	svm_quiesce(svm);
	iommu_sva_unbind_device(svm->sva);
	svm_disable_sva(&svm->pdev->dev);
	svm->sva = NULL;
}

static int svm_open(struct inode *inode, struct file *file)
{
	struct svm_device *svm = container_of(file->private_data,
					      struct svm_device, misc);
	int ret;

	mutex_lock(&svm->lock);
	if (!svm->pdev)
		ret = -ENODEV;
	else if (svm->open)
		ret = -EBUSY;
	else
		ret = svm_bind(svm);
	if (!ret) {
		svm->open = true;
		file->private_data = svm;
		kref_get(&svm->refs);
	}
	mutex_unlock(&svm->lock);
	return ret;
}

static int svm_release(struct inode *inode, struct file *file)
{
	struct svm_device *svm = file->private_data;

	mutex_lock(&svm->lock);
	svm_unbind(svm);
	kfree(svm->kmem);
	svm->kmem = NULL;
	svm->open = false;
	mutex_unlock(&svm->lock);
	kref_put(&svm->refs, svm_free);
	return 0;
}

static long svm_set(struct svm_device *svm, u64 __user *from, u32 offset)
{
	u64 value;

	if (copy_from_user(&value, from, sizeof(value)))
		return -EFAULT;
	writeq(value, svm->regs + offset);
	return 0;
}

static long svm_alloc_kmem(struct svm_device *svm, struct svm_kmem __user *user)
{
	struct svm_kmem request;
	void *copy;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	if (!request.size || request.size > SVM_KMEM_MAX)
		return -EINVAL;
	copy = memdup_user((void __user *)request.src, request.size);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	if (put_user(copy, &user->res)) {
		kfree(copy);
		return -EFAULT;
	}
	kfree(svm->kmem);
	svm->kmem = copy;
	return 0;
}

/* Start an operation with the lock held, and wait for its end without it. */
static long svm_run(struct svm_device *svm, u64 operation)
{
	long ret;

	if (READ_ONCE(svm->busy))
		return -EBUSY;
	svm->aborted = false;
	WRITE_ONCE(svm->busy, true);
	writeq(operation, svm->regs + SVM_REG_START);

	mutex_unlock(&svm->lock);
	ret = wait_event_killable(svm->idle, !smp_load_acquire(&svm->busy));
	mutex_lock(&svm->lock);

	if (ret)
		return -EINTR;
	if (!svm->pdev)
		return -ENODEV;
	if (svm->aborted)
		return -EIO;
	return svm->result ? 1 : 0;
}

static long svm_command(struct svm_device *svm, unsigned int command,
			void __user *argument)
{
	switch (command) {
	case SVM_SET_ADDR:
		return svm_set(svm, argument, SVM_REG_ADDR);
	case SVM_SET_CRC:
		return svm_set(svm, argument, SVM_REG_CRC);
	case SVM_SET_SIZE:
		return svm_set(svm, argument, SVM_REG_SIZE);
	case SVM_SET_OPT:
		return svm_set(svm, argument, SVM_REG_OPTIONS);
	case SVM_START_WRITE:
		return svm_run(svm, SVM_WRITE);
	case SVM_START_READ:
		return svm_run(svm, SVM_READ);
	case SVM_ALLOC_KMEM:
		return svm_alloc_kmem(svm, argument);
	default:
		return -ENOTTY;
	}
}

static long svm_ioctl(struct file *file, unsigned int command,
		      unsigned long argument)
{
	struct svm_device *svm = file->private_data;
	long ret = -ENODEV;

	mutex_lock(&svm->lock);
	if (svm->pdev)
		ret = svm_command(svm, command, (void __user *)argument);
	mutex_unlock(&svm->lock);
	return ret;
}

static const struct file_operations svm_fops = {
	.owner = THIS_MODULE,
	.open = svm_open,
	.release = svm_release,
	.unlocked_ioctl = svm_ioctl,
};

static struct svm_device *svm_new(struct pci_dev *pdev)
{
	struct svm_device *svm = kzalloc(sizeof(*svm), GFP_KERNEL);

	if (!svm)
		return NULL;
	svm->id = ida_alloc(&svm_ids, GFP_KERNEL);
	if (svm->id < 0) {
		kfree(svm);
		return NULL;
	}
	if (svm->id)
		snprintf(svm->name, sizeof(svm->name), "svm%d", svm->id);
	else
		strscpy(svm->name, "svm", sizeof(svm->name));
	kref_init(&svm->refs);
	mutex_init(&svm->lock);
	init_waitqueue_head(&svm->idle);
	svm->pdev = pdev;
	svm->misc.minor = MISC_DYNAMIC_MINOR;
	svm->misc.name = svm->name;
	svm->misc.fops = &svm_fops;
	svm->misc.parent = &pdev->dev;
	return svm;
}

static int svm_start(struct svm_device *svm, struct pci_dev *pdev)
{
	int ret;

	if (readq(svm->regs + SVM_REG_START) != SVM_IDENTITY) {
		dev_err(&pdev->dev, "is not an svm device\n");
		return -ENODEV;
	}
	ret = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI);
	if (ret < 0)
		return ret;
	writel(SVM_NO_PASID, svm->regs + SVM_REG_PASID);
	ret = request_irq(pci_irq_vector(pdev, 0), svm_interrupt, 0, "svm",
			  svm);
	if (ret)
		goto free_vectors;
	ret = misc_register(&svm->misc);
	if (ret)
		goto free_interrupt;
	return 0;

free_interrupt:
	free_irq(pci_irq_vector(pdev, 0), svm);
free_vectors:
	pci_free_irq_vectors(pdev);
	return ret;
}

static int svm_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct svm_device *svm;
	int ret = pcim_enable_device(pdev);

	if (ret)
		return ret;
	svm = svm_new(pdev);
	if (!svm)
		return -ENOMEM;
	svm->regs = pcim_iomap(pdev, SVM_BAR, 0);
	ret = svm->regs ? svm_start(svm, pdev) : -ENOMEM;
	if (ret) {
		kref_put(&svm->refs, svm_free);
		return ret;
	}
	pci_set_drvdata(pdev, svm);
	dev_info(&pdev->dev, "is /dev/%s\n", svm->name);
	return 0;
}

static void svm_remove(struct pci_dev *pdev)
{
	struct svm_device *svm = pci_get_drvdata(pdev);

	misc_deregister(&svm->misc);
	mutex_lock(&svm->lock);
	svm_unbind(svm);
	svm->pdev = NULL;
	mutex_unlock(&svm->lock);
	free_irq(pci_irq_vector(pdev, 0), svm);
	pci_free_irq_vectors(pdev);
	kref_put(&svm->refs, svm_free);
}

/* The device must be idle when the next kernel starts (kexec). */
static void svm_shutdown(struct pci_dev *pdev)
{
	struct svm_device *svm = pci_get_drvdata(pdev);

	mutex_lock(&svm->lock);
	svm_quiesce(svm);
	pci_clear_master(pdev);
	mutex_unlock(&svm->lock);
}

/* Keep the lock while the device is in reset, so that nothing accesses it. */
static void svm_reset_prepare(struct pci_dev *pdev)
{
	struct svm_device *svm = pci_get_drvdata(pdev);

	mutex_lock(&svm->lock);
	svm_quiesce(svm);
}

static void svm_reset_done(struct pci_dev *pdev)
{
	struct svm_device *svm = pci_get_drvdata(pdev);

	if (svm->sva)
		writel(iommu_sva_get_pasid(svm->sva),
		       svm->regs + SVM_REG_PASID);
	mutex_unlock(&svm->lock);
}

static const struct pci_error_handlers svm_error_handlers = {
	.reset_prepare = svm_reset_prepare,
	.reset_done = svm_reset_done,
};

static const struct pci_device_id svm_table[] = {
	{ PCI_DEVICE(0x1234, SVM_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, svm_table);

static struct pci_driver svm_driver = {
	.name = "svm",
	.id_table = svm_table,
	.probe = svm_probe,
	.remove = svm_remove,
	.shutdown = svm_shutdown,
	.err_handler = &svm_error_handlers,
};
module_pci_driver(svm_driver);

MODULE_DESCRIPTION("Driver of QEMU's svm demo device");
MODULE_LICENSE("GPL");
