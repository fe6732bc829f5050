/*
 * Intel Data Streaming Accelerator (DSA): internal interfaces of the model
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A descriptor comes in through a portal (portal.c) and waits in a work queue
 * (wq.c).  The thread of an engine (engine.c) executes it as a job (job.c),
 * which checks it (descriptor.c), moves data (ops-*.c, memory.c) and completes
 * it (completion.c).  Errors go to a register (swerror.c) or to a log in memory
 * (event_log.c).  The guest configures groups and work queues (config.c) and
 * gives administrative commands (command.c), such as those that enable the
 * device and its work queues (enable.c).
 *
 * DSAState.lock protects all state that the guest can change and the engines
 * read.  It is taken with or without the BQL.  Code that holds it neither
 * waits, nor takes the BQL, nor calls the PCI layer for DMA or interrupts: a
 * bottom half sends interrupts and finishes commands that had to wait.  An
 * engine executes a descriptor without any lock, on copies of the descriptor
 * and of its configuration.  An engine never waits for the BQL, because the
 * main loop waits for the engines with the BQL held: when the machine stops,
 * at a reset, and when the device is unplugged.
 *
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#ifndef HW_DMA_DSA_INTERNAL_H
#define HW_DMA_DSA_INTERNAL_H

#include "qemu/thread.h"
#include "qemu/units.h"
#include "hw/direct_store.h"
#include "hw/dma/dsa-regs.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci_device.h"
#include "migration/vmstate.h"
#include "qom/object.h"
#include "system/runstate.h"

#define TYPE_DSA "dsa"
OBJECT_DECLARE_SIMPLE_TYPE(DSAState, DSA)

/* Limits of the registers and the bitmaps of this model */
#define DSA_MAX_ENGINES     64
#define DSA_MAX_GROUPS      64
#define DSA_MAX_WQS         64
#define DSA_MAX_VECTORS     (DSA_MAX_WQS + 1)

/* log2 of the maximum values in GENCAP */
#define DSA_MAX_TRANSFER    31
#define DSA_MAX_BATCH       10

#define DSA_READ_BUFFERS    96

/* Size of each of the two buffers of an engine, in bytes */
#define DSA_CHUNK           (32 * KiB)

/* Bytes of each operand that are prefetched at once */
#define DSA_PREFETCH           (1 * MiB)

/* Descriptors of a batch that are read in one access */
#define DSA_BATCH_FETCH     16

/* A submitted descriptor, and the configuration of its WQ at that time */
typedef struct DSAWork {
    uint8_t raw[DSA_DESC_SIZE];
    uint64_t seq;               /* sequence number, in order of submission */
    uint32_t pasid;             /* or PCI_NO_PASID */
    bool priv;
    bool shared;
    bool block_on_fault;        /* Block on Fault is allowed */
    bool user_int;              /* completion interrupts are allowed */
    bool event_log;             /* the event log is enabled */
    bool prs_disabled;          /* the WQ sends no page requests */
    uint8_t wq;
    uint8_t max_transfer;       /* log2 */
    uint8_t max_batch;          /* log2 */
} DSAWork;

typedef struct DSADescriptor {
    uint8_t raw[DSA_DESC_SIZE];
    uint32_t trusted;
    uint32_t flags;
    uint8_t operation;
    uint64_t completion_addr;
    uint64_t src;
    uint64_t dst;
    uint32_t size;
    uint16_t int_handle;
} DSADescriptor;

/* Progress of a job; an interrupted job continues in the same phase */
typedef enum DSAPhase {
    DSA_PHASE_CHECK,
    DSA_PHASE_RUN,
    DSA_PHASE_READBACK,
    DSA_PHASE_REPORT,
    DSA_PHASE_SETTLE,           /* waits only for page request responses */
} DSAPhase;

/* A descriptor in execution */
typedef struct DSAJob {
    DSAState *s;
    struct DSAEngine *engine;
    const DSAWork *work;        /* of the descriptor, or of its batch */
    DSADescriptor desc;
    bool in_batch;
    uint16_t batch_index;
    bool error_logged;          /* the log has an error of a batch member */
    bool record_logged;         /* the log has the record of a batch member */
    bool record_written;        /* the completion record is in memory */
    uint8_t phase;              /* DSAPhase */
    bool interrupted;           /* by a pause or an abort */
    /* State of the operation between two steps */
    uint32_t crc;
    uint32_t delta;             /* record size, or end of the last delta */
    bool batch_failed;          /* a member has failed */
    uint32_t prefetch_at;       /* Bytes Completed at the next prefetch */
    /* The completion record */
    uint8_t status;             /* DSAStatus, without DSA_STATUS_WRITE */
    bool fault_write;
    uint8_t result;
    uint32_t bytes_completed;
    uint64_t fault_addr;
    uint8_t specific[DSA_CR_SIZE - DSA_CR_SPECIFIC];
} DSAJob;

/*
 * The thread of the engine owns @work, @job, @child and @list while @executing
 * is set; otherwise DSAState.lock protects them.
 */
typedef struct DSAEngine {
    DSAState *s;
    QemuThread thread;
    uint8_t *buf[2];            /* DSA_CHUNK bytes each, for the thread only */
    DSAWork work;               /* constant while @busy */
    DSAJob job;
    DSAJob child;               /* the current member of the batch @job */
    bool has_child;
    uint32_t list_first;        /* index in the batch of the first in @list */
    uint32_t list_len;          /* descriptors in @list */
    uint8_t list[DSA_BATCH_FETCH][DSA_DESC_SIZE];
    /* Protected by DSAState.lock */
    QemuCond wakeup;
    int group;                  /* or -1 */
    bool idle;                  /* waits for @wakeup, without work */
    bool busy;                  /* @work has not ended */
    bool was_suspended;         /* page requests may still be outstanding */
    bool executing;             /* the thread executes without the lock */
    /* Written with DSAState.lock held, read by the thread at any time */
    bool abort;                 /* abandon @work */
} DSAEngine;

/* Protected by DSAState.lock */
typedef struct DSAWQ {
    uint64_t cfg[DSA_WQCFG_QWORDS]; /* without Occupancy and State */
    uint32_t state;             /* DSADeviceState */
    int group;                  /* while the device is enabled */
    unsigned credit;            /* descriptors left in this round (4.1) */
    uint32_t head;
    uint32_t occupancy;
    uint32_t capacity;          /* entries of @ring: those that all WQs share */
    DSAWork *ring;
} DSAWQ;

/* Protected by DSAState.lock */
typedef struct DSAGroup {
    uint64_t wqs[4];
    uint64_t engines;
    uint64_t flags;
    unsigned next_wq;           /* the first WQ in the next arbitration */
} DSAGroup;

/* Selects the descriptors that a command aborts or waits for */
typedef struct DSAFilter {
    uint64_t wqs;               /* bitmap */
    uint32_t pasid;             /* valid with @by_pasid */
    bool by_pasid;
    uint64_t end;               /* sequence numbers are below @end */
} DSAFilter;

/* Protected by DSAState.lock */
typedef struct DSACommand {
    uint32_t reg;
    bool waits;                 /* for the descriptors of @filter */
    bool done;                  /* they have ended; the bottom half is due */
    DSAFilter filter;
} DSACommand;

/* Protected by DSAState.lock */
typedef struct DSAEventLog {
    uint64_t cfg[DSA_EVLCFG_QWORDS];
    uint64_t status;
    bool writing;               /* an engine writes the entry at the tail */
    bool loaded;                /* in an image: the stream has the log */
} DSAEventLog;

/* Controls that the guest must not change unless the device is disabled */
typedef struct DSAPCIControls {
    bool bus_master;
    bool ats;
    bool pasid;
    bool pri;
} DSAPCIControls;

struct DSAState {
    PCIDevice parent_obj;
    MemoryRegion mmio;          /* BAR 0 */
    MemoryRegion portals;       /* BAR 2 */

    /* Properties */
    uint32_t num_engines;
    uint32_t num_groups;
    uint32_t num_wqs;
    uint32_t total_wq_size;
    uint32_t atc_entries;
    uint32_t pri_capacity;
    bool has_event_log;

    PCIATSDMA *dma;
    QEMUBH *bh;
    VMChangeStateEntry *vm_state;
    DSAPCIControls controls;    /* protected by the BQL */
    /*
     * The state that vmstate_dsa saves or loads: the device itself while it is
     * saved, a copy that has not been checked yet while it is loaded, NULL
     * otherwise.  Only the migrated fields of a copy are valid.  Protected by
     * the BQL.
     */
    DSAState *image;

    QemuMutex lock;
    /* Written with the BQL and @lock held, read by engines at any time */
    bool running;               /* the machine runs */
    /* Protected by @lock */
    uint32_t state;             /* DSADeviceState */
    uint32_t reset_type;
    uint32_t gencfg;
    uint32_t genctrl;
    uint32_t intcause;
    uint32_t cmdstatus;
    uint64_t swerror[DSA_SWERROR_QWORDS];
    DSAEventLog event_log;
    uint32_t msixperm[DSA_MAX_VECTORS];
    bool raised[DSA_MAX_VECTORS];       /* vectors that @bh has to send */
    DSACommand cmd;
    uint64_t next_seq;
    QemuCond completed;         /* an engine has ended or suspended its work */
    bool paused;                /* engines begin and continue no work */
    bool stopping;              /* unrealized; written with the BQL held, too */
    DSAGroup groups[DSA_MAX_GROUPS];
    DSAWQ wqs[DSA_MAX_WQS];
    DSAEngine engines[DSA_MAX_ENGINES];
};

/*
 * "The lock" is DSAState.lock.  Functions without a remark take it themselves,
 * or do not need it.
 */

/* ---- state.c ---- */

/* Let the bottom half send an MSI-X vector.  Called with the lock held. */
void dsa_raise(DSAState *s, unsigned vector);

/* Set a bit of INTCAUSE and raise vector 0.  Called with the lock held. */
void dsa_raise_cause(DSAState *s, uint32_t cause);

/*
 * The bottom half, which sends interrupts and finishes commands.  Called with
 * the BQL held.  An interrupt message can unplug the device; the device then
 * stays in memory until an RCU callback, with the BQL held, drops it.
 */
void dsa_bh(void *opaque);

/*
 * Enter the Halt State, unless the device is disabled (5.7).  Called with the
 * BQL held.
 */
void dsa_halt(DSAState *s);

/* Function Level Reset.  Called with the BQL held. */
void dsa_reset_state(DSAState *s);

/* The machine stops or continues.  Called with the BQL held. */
void dsa_set_running(DSAState *s, bool running);

/* ---- config.c ---- */

/*
 * Access registers other than CMD.  @addr is a multiple of 8.  Called with the
 * lock held.
 */
uint64_t dsa_config_read(DSAState *s, hwaddr addr);
void dsa_config_write(DSAState *s, hwaddr addr, uint64_t val, uint64_t mask);

/* Set the initial values (Table 9-3).  Called with the lock held. */
void dsa_config_reset(DSAState *s);
void dsa_config_reset_wq(DSAState *s, unsigned wq);

/*
 * Returns the name of a register in which a bit is set that software cannot
 * set, or NULL.  Called with the lock held.
 */
const char *dsa_config_reserved(DSAState *s);

unsigned dsa_num_vectors(const DSAState *s);
bool dsa_int_handle_valid(const DSAState *s, uint32_t handle);

/* ---- enable.c ---- */

/*
 * Device Enable Checks and WQ Enable Checks (5.1, 5.2).  Called with the lock
 * held.
 */
DSACommandError dsa_enable_check_device(DSAState *s);
DSACommandError dsa_enable_check_wq(DSAState *s, unsigned wq);

/*
 * The Device Enable Checks of WQ sizes and groups only.  Called with the lock
 * held.
 */
DSACommandError dsa_enable_check_groups(DSAState *s);

/*
 * Assign engines and WQs to their groups, after the checks.  Called with the
 * lock held.
 */
void dsa_enable_assign_groups(DSAState *s);

/* ---- command.c ---- */

/* Execute a write of CMD.  Called with the lock held. */
void dsa_command_submit(DSAState *s, uint32_t val);

/*
 * Returns whether the active command ends all descriptors without waiting for
 * the responses to their page requests.  Called with the lock held.
 */
bool dsa_command_discards(const DSAState *s);

/*
 * Schedule the bottom half if the active command waits for no more descriptors.
 * Called with the lock held, when a descriptor has ended.
 */
void dsa_command_poll(DSAState *s);

/*
 * Finish a command whose wait is over.  Called with the BQL and the lock held.
 */
void dsa_command_finish(DSAState *s);

/* ---- portal.c ---- */

void dsa_portal_init(DSAState *s);
bool dsa_portal_direct_store(DirectStoreTarget *target, MemoryRegion *mr,
                             hwaddr addr, const void *data, MemTxAttrs attrs);
bool dsa_portal_enqueue_store(DirectStoreTarget *target, MemoryRegion *mr,
                              hwaddr addr, const void *data,
                              MemTxAttrs attrs);

/* ---- wq.c ---- */

/* All are called with the lock held */

/* Append a descriptor; false if the WQ is full */
bool dsa_wq_push(DSAState *s, unsigned wq, const void *raw);
/* Take the next descriptor for an engine (4.1); false if there is none */
bool dsa_wq_pop(DSAState *s, DSAEngine *engine);
/* Derive the fields of all descriptors that no migration stream holds */
void dsa_wq_load(DSAState *s);
/* Returns whether a filter matches a descriptor */
bool dsa_filter_matches(const DSAFilter *filter, const DSAWork *work);
/* Returns whether a matching descriptor has not ended */
bool dsa_wq_outstanding(DSAState *s, const DSAFilter *filter);
/* Discard matching descriptors in WQs, and let engines abandon the others */
void dsa_wq_abort(DSAState *s, const DSAFilter *filter);
/* Raise the WQ Occupancy Interrupt if it is due (9.2.24) */
void dsa_wq_check_occupancy_int(DSAState *s, unsigned wq);
#define DSA_WQ_FIELD(wq, n, field)                                          \
    extract64((wq)->cfg[n], R_DSA_WQCFG ## n ## _ ## field ## _SHIFT,       \
              R_DSA_WQCFG ## n ## _ ## field ## _LENGTH)

/* ---- engine.c ---- */

void dsa_engines_start(DSAState *s);
/*
 * End all engines, and drop further accesses to the device.  Called with the
 * BQL held, without the lock.  Does not wait for the guest.
 */
void dsa_engines_stop(DSAState *s);
/*
 * Let all engines suspend or abandon their descriptors.  No engine accesses
 * memory when this returns.  Descriptors that are not aborted continue after
 * dsa_engines_resume().  Called with the BQL held, without the lock.
 */
void dsa_engines_pause(DSAState *s);
/*
 * Drop the descriptors that were suspended.  Called with the lock held, after
 * dsa_engines_pause().
 */
void dsa_engines_discard(DSAState *s);
/*
 * Let the engines continue, unless the machine is stopped.  Called with the BQL
 * held, without the lock.
 */
void dsa_engines_resume(DSAState *s);
/* Wake an idle engine of a group.  Called with the lock held. */
void dsa_engine_wake(DSAState *s, int group);

/* ---- descriptor.c ---- */

void dsa_descriptor_decode(DSADescriptor *desc, const uint8_t *raw);
/* Descriptor Checks (5.4); on failure sets the status of @job */
bool dsa_descriptor_check(DSAJob *job);
/* Only the Descriptor Checks that the operations rely on */
bool dsa_descriptor_can_run(const DSAJob *job);
/* Returns whether the completion interrupt is permitted (Table 5-2) */
bool dsa_descriptor_int_valid(const DSAJob *job);
/* Maximum number of bytes that the operation writes to its destination */
uint64_t dsa_descriptor_dst_size(const DSADescriptor *desc);
/* Flags that dsa_descriptor_check() has found invalid */
uint32_t dsa_job_invalid_flags(const DSAJob *job);

/* ---- job.c ---- */

/*
 * Returns whether the job has to be suspended or abandoned, which @interrupted
 * records.  Called by the thread of the engine, with or without the lock.
 */
bool dsa_job_interrupted(DSAJob *job);

/* Clear an error that is not to be reported */
void dsa_job_clear_error(DSAJob *job);

/*
 * Execute a descriptor and complete it.  Called by the thread of the engine,
 * without the lock.  Returns false if the job was interrupted; the next call
 * continues it.
 */
bool dsa_job_execute(DSAJob *job);

/* ---- completion.c ---- */

/*
 * Write the completion record, report errors, raise the interrupt.  Called by
 * the thread of the engine, without the lock.  Returns false, with nothing
 * reported, if the job was interrupted.
 */
bool dsa_job_complete(DSAJob *job);

/* ---- swerror.c ---- */

/*
 * Record an error.  @swerror is the register without Valid.  Called with the
 * lock held.
 */
void dsa_swerror_record(DSAState *s,
                        const uint64_t swerror[DSA_SWERROR_QWORDS]);
/*
 * Record an error of a WQ, or of no WQ if @wq is -1.  Called with the lock
 * held.
 */
void dsa_swerror(DSAState *s, DSAStatus error, int wq);

/* ---- event_log.c ---- */

/*
 * dsa_event_log_enabled: whether an enabled device uses the event log
 *
 * Called with the lock held.
 */
bool dsa_event_log_enabled(const DSAState *s);

/*
 * dsa_event_log_read: read EVLCFG or EVLSTATUS (9.2.16, 9.2.17)
 *
 * Called with the lock held.
 *
 * @addr: address of a quadword of either register
 *
 * Returns: the value; 0 without event log
 */
uint64_t dsa_event_log_read(const DSAState *s, hwaddr addr);

/*
 * dsa_event_log_write: write to EVLCFG or EVLSTATUS
 *
 * Called with the lock held.  Signals @completed to engines that wait for
 * space in the log.
 *
 * @addr: address of a quadword of either register
 * @val: the value
 * @mask: bits of @val that are written
 */
void dsa_event_log_write(DSAState *s, hwaddr addr, uint64_t val, uint64_t mask);

/*
 * dsa_event_log_check: the Device Enable Checks of the event log (5.1)
 *
 * Called with the lock held.
 *
 * Returns: DSA_CMDERR_EVENT_LOG if the log is too small or reaches beyond the
 * end of the address space; DSA_CMDERR_PASID if the log needs a PASID or
 * privilege that the PASID capability has not enabled; 0 otherwise
 */
DSACommandError dsa_event_log_check(const DSAState *s);

/* Start the log of a device that was enabled.  Called with the lock held. */
void dsa_event_log_start(DSAState *s);

/* Reset Device (Table 9-3).  Called with the lock held. */
void dsa_event_log_reset_config(DSAState *s);

/* FLR.  Called with the lock held, while no engine executes a descriptor. */
void dsa_event_log_reset(DSAState *s);

/*
 * dsa_event_log_append: append an entry (5.9)
 *
 * Called by the thread of an engine, without the lock.  Waits for space in the
 * log and for other engines; sends no page requests.  An entry that cannot be
 * written is lost, which SWERROR records.
 *
 * @job: the job of the engine
 * @entry: DSA_EVENT_SIZE bytes
 *
 * Returns: false if @job was interrupted and no entry was appended
 */
bool dsa_event_log_append(DSAJob *job, const uint8_t *entry);

/*
 * dsa_event_log_check_load: check the event log of an incoming state
 *
 * @s: the incoming state, complete with all registers
 *
 * Returns: NULL, or the name of a field that is invalid
 */
const char *dsa_event_log_check_load(const DSAState *s);

/* ---- memory.c ---- */

/*
 * The functions below are called by the thread of the engine, without the lock.
 *
 * Move data between @buf and memory, with the PASID, privilege and flags of the
 * job, and set @moved to the number of bytes.  Return false if @moved is less
 * than @len: the job was interrupted, or its status and fault address are set.
 * Otherwise the job is unchanged.  A range that reaches the end of the address
 * space continues at address 0.
 */
bool dsa_read(DSAJob *job, uint64_t addr, void *buf, size_t len,
              size_t *moved);
bool dsa_write(DSAJob *job, uint64_t addr, const void *buf, size_t len,
               size_t *moved);
/*
 * Visit the operands, which begin at @ranges, from Bytes Completed on.  The
 * opaque pointer of @fn is the job, of which @fn advances Bytes Completed.
 * Returns true if an operand continues at address 0; false at the end of the
 * operands, if the job was interrupted, or if its status and fault address are
 * set.
 */
bool dsa_visit(DSAJob *job, const PCIATSDMARange *ranges, unsigned n,
               PCIATSDMAVisit *fn);
/*
 * Operations that copy their data into a buffer would send page requests for
 * few pages at a time.  Returns whether such an operation has to prefetch its
 * next DSA_PREFETCH bytes with dsa_prefetch().
 */
bool dsa_should_prefetch(DSAJob *job);
/* Prefetch a range; errors are reported when the range is accessed */
void dsa_prefetch(DSAJob *job, uint64_t addr, uint64_t len, DMADirection dir);
/*
 * Like dsa_read() and dsa_write(), but with page requests regardless of the
 * flags: for descriptors and completion records (3.13.1).
 */
bool dsa_read_blocking(DSAJob *job, uint64_t addr, void *buf, size_t len);
bool dsa_write_blocking(DSAJob *job, uint64_t addr, const void *buf,
                        size_t len);

/* ---- ops-*.c ---- */

/*
 * An operation is carried out in steps.  Each step continues where the job
 * records the end of the step before, and notices within 256 KiB of data that
 * the job was interrupted.
 *
 * @step: performs one step; returns false after the last one, or on an error
 * @finish: called once, after the last step of a job that was not interrupted
 */
typedef struct DSAOperationType {
    bool (*step)(DSAJob *job);
    void (*finish)(DSAJob *job);
} DSAOperationType;

/* Clear Bytes Completed and Result, which are defined on an error only */
void dsa_finish_move(DSAJob *job);

/* Fill @len bytes, which begin at offset @pos of a larger range */
void dsa_fill_pattern(uint8_t *buf, size_t len, uint64_t pattern, uint32_t pos);

extern const DSAOperationType dsa_op_batch, dsa_op_drain;
extern const DSAOperationType dsa_op_memory_move, dsa_op_fill, dsa_op_dualcast;
extern const DSAOperationType dsa_op_cache_flush;
extern const DSAOperationType dsa_op_compare, dsa_op_compare_pattern;
extern const DSAOperationType dsa_op_create_delta, dsa_op_apply_delta;
extern const DSAOperationType dsa_op_crc, dsa_op_copy_crc, dsa_op_dif;

/* ---- load.c ---- */

/*
 * dsa_load_check: check an incoming state before it is used
 *
 * @image: the incoming state.  The jobs of its engines are decoded from their
 *         descriptors.
 *
 * Returns: NULL, or the name of a field that is invalid
 */
const char *dsa_load_check(DSAState *image);

/*
 * dsa_load_commit: adopt an incoming state
 *
 * Called with the lock held, while no engine executes a descriptor.
 *
 * @image: a state that has passed dsa_load_check()
 */
void dsa_load_commit(DSAState *s, const DSAState *image);

/* ---- vmstate.c ---- */

extern const VMStateDescription vmstate_dsa;

/* Free an incoming state that was not adopted.  Called with the BQL held. */
void dsa_image_free(DSAState *s);

#endif
