/*
 * Intel Data Streaming Accelerator (DSA): what the parts of the model share
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
 * DSAState.lock protects everything that the guest can change and engines look
 * at.  It is taken with or without the BQL, and nothing that can wait, take
 * the BQL, or call the PCI layer for DMA or interrupts is done with it held:
 * interrupts, and the ends of commands that had to wait, are left to a bottom
 * half.  An engine executes a descriptor without any lock, on a copy of what
 * concerns it.  It never waits for the BQL: whoever holds it can wait for the
 * engines: when the machine stops, at a reset, and when the device goes.
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

/* What the registers and the bitmaps of this model have room for */
#define DSA_MAX_ENGINES     64
#define DSA_MAX_GROUPS      64
#define DSA_MAX_WQS         64
#define DSA_MAX_VECTORS     (DSA_MAX_WQS + 1)

/* log2 of what GENCAP offers */
#define DSA_MAX_TRANSFER    31
#define DSA_MAX_BATCH       10

#define DSA_READ_BUFFERS    96

/* Data that an engine holds at once of each of two operands */
#define DSA_CHUNK           (32 * KiB)

/* Data of each operand whose pages are asked for before work on them begins */
#define DSA_AHEAD           (1 * MiB)

/* Descriptors of a batch that are read at once */
#define DSA_BATCH_FETCH     16

/* A descriptor as it was submitted, and what its WQ was configured with */
typedef struct DSAWork {
    uint8_t raw[DSA_DESC_SIZE];
    uint64_t seq;               /* order of submission */
    uint32_t pasid;             /* or PCI_NO_PASID */
    bool priv;
    bool shared;
    bool block_on_fault;        /* is allowed */
    bool user_int;              /* interrupts are allowed */
    bool event_log;             /* is enabled */
    bool prs_disabled;          /* page requests are, for this WQ */
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

/* How far a descriptor is; it goes on there when it has been interrupted */
typedef enum DSAPhase {
    DSA_PHASE_CHECK,
    DSA_PHASE_RUN,
    DSA_PHASE_READBACK,
    DSA_PHASE_REPORT,
    DSA_PHASE_SETTLE,           /* has ended but for its page requests */
} DSAPhase;

/* A descriptor that is being executed */
typedef struct DSAJob {
    DSAState *s;
    struct DSAEngine *engine;
    const DSAWork *work;        /* of the descriptor, or of its batch */
    DSADescriptor desc;
    bool in_batch;
    uint16_t batch_index;
    bool error_logged;          /* of a descriptor of the batch */
    bool record_logged;         /* the completion record of one */
    bool record_written;
    uint8_t phase;              /* DSAPhase */
    bool interrupted;           /* by a pause, or an abort */
    /* What the next step of the operation has to know of those before */
    uint32_t crc;
    uint32_t delta;             /* size of the record, or least next offset */
    bool batch_failed;
    uint32_t asked;             /* Bytes Completed to ask for pages again at */
    /* The completion record */
    uint8_t status;             /* DSAStatus, without DSA_STATUS_WRITE */
    bool fault_write;
    uint8_t result;
    uint32_t bytes_completed;
    uint64_t fault_addr;
    uint8_t specific[DSA_CR_SIZE - DSA_CR_SPECIFIC];
} DSAJob;

/*
 * What an engine works on belongs to its thread while it is @executing, and
 * else to the lock.
 */
typedef struct DSAEngine {
    DSAState *s;
    QemuThread thread;
    uint8_t *buf[2];            /* DSA_CHUNK each; of the thread */
    DSAWork work;               /* not changed while @busy */
    DSAJob job;
    DSAJob child;               /* of the batch @job */
    bool has_child;
    uint32_t list_first;        /* of the descriptors of the batch in @list */
    uint32_t list_len;
    uint8_t list[DSA_BATCH_FETCH][DSA_DESC_SIZE];
    /* Under the lock */
    QemuCond wakeup;
    int group;                  /* or -1 */
    bool idle;                  /* waits for @wakeup, without work */
    bool busy;                  /* has @work, which has not ended */
    bool was_put_aside;         /* its page requests may still be open */
    bool executing;             /* is not with the lock */
    /* Written under the lock, read by the thread at any time */
    bool abort;                 /* abandon @work */
} DSAEngine;

/* Under the lock */
typedef struct DSAWQ {
    uint64_t cfg[DSA_WQCFG_QWORDS]; /* without Occupancy and State */
    uint32_t state;             /* DSADeviceState */
    int group;                  /* while the device is enabled */
    unsigned credit;            /* descriptors left in this round (4.1) */
    uint32_t head;
    uint32_t occupancy;
    uint32_t capacity;          /* as many entries as all WQs share */
    DSAWork *ring;
} DSAWQ;

/* Under the lock */
typedef struct DSAGroup {
    uint64_t wqs[4];
    uint64_t engines;
    uint64_t flags;
    unsigned next_wq;           /* that the arbiter looks at first */
} DSAGroup;

/* The descriptors that a command is about */
typedef struct DSAFilter {
    uint64_t wqs;
    uint32_t pasid;             /* with @by_pasid */
    bool by_pasid;
    uint64_t end;               /* sequence numbers below it */
} DSAFilter;

/* Under the lock */
typedef struct DSACommand {
    uint32_t reg;
    bool waits;                 /* for the descriptors of @filter */
    bool done;                  /* waiting, until the bottom half has seen it */
    DSAFilter filter;
} DSACommand;

/* Under the lock */
typedef struct DSAEventLog {
    uint64_t cfg[DSA_EVLCFG_QWORDS];
    uint64_t status;
    bool writing;               /* an engine is, the entry at the tail */
    bool loaded;                /* in an image: the stream has it */
} DSAEventLog;

/* What the guest must not switch while the device is not disabled */
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
    DSAPCIControls controls;    /* under the BQL */
    /*
     * What vmstate_dsa is about, under the BQL: the device itself to save it;
     * what has been loaded and not been checked yet; else NULL.  Only what a
     * stream holds matters in it.
     */
    DSAState *image;

    QemuMutex lock;
    /* Written with the BQL under @lock, read by engines at any time */
    bool running;               /* the machine is */
    /* Under @lock */
    uint32_t state;             /* DSADeviceState */
    uint32_t reset_type;
    uint32_t gencfg;
    uint32_t genctrl;
    uint32_t intcause;
    uint32_t cmdstatus;
    uint64_t swerror[DSA_SWERROR_QWORDS];
    DSAEventLog event_log;
    uint32_t msixperm[DSA_MAX_VECTORS];
    bool int_handles[DSA_MAX_VECTORS];  /* that were requested */
    bool raised[DSA_MAX_VECTORS];       /* for the bottom half */
    DSACommand cmd;
    uint64_t next_seq;
    QemuCond completed;         /* an engine has ended or put aside its work */
    bool paused;                /* engines go on with nothing */
    bool stopping;              /* unrealized; written with the BQL, too */
    DSAGroup groups[DSA_MAX_GROUPS];
    DSAWQ wqs[DSA_MAX_WQS];
    DSAEngine engines[DSA_MAX_ENGINES];
};

/* All functions below take the lock themselves, unless it says otherwise */

/* ---- state.c ---- */

/* Have the bottom half raise an MSI-X vector; with the lock */
void dsa_raise(DSAState *s, unsigned vector);

/* Set a bit of INTCAUSE and raise vector 0; with the lock */
void dsa_raise_cause(DSAState *s, uint32_t cause);

/*
 * The bottom half: raises interrupts, ends commands; with the BQL.  A message
 * that it sends can unplug the device, which its bus then keeps in memory until
 * an RCU callback, with the BQL, drops it.
 */
void dsa_bh(void *opaque);

/* Enter the Halt State, unless the device is disabled (5.7); with the BQL */
void dsa_halt(DSAState *s);

/* FLR; with the BQL */
void dsa_reset_state(DSAState *s);

/* The machine stops, or goes on; with the BQL */
void dsa_set_running(DSAState *s, bool running);

/* ---- config.c ---- */

/* Registers other than CMD; with the lock.  @addr is a multiple of 8. */
uint64_t dsa_config_read(DSAState *s, hwaddr addr);
void dsa_config_write(DSAState *s, hwaddr addr, uint64_t val, uint64_t mask);

/* Initial values (Table 9-3); with the lock */
void dsa_config_reset(DSAState *s);
void dsa_config_reset_wq(DSAState *s, unsigned wq);

/*
 * Returns the name of a register with bits that nobody can have set, or NULL;
 * with the lock
 */
const char *dsa_config_reserved(DSAState *s);

unsigned dsa_num_vectors(const DSAState *s);
bool dsa_int_handle_valid(const DSAState *s, uint32_t handle);

/* ---- enable.c ---- */

/* Device Enable Checks and WQ Enable Checks (5.1, 5.2); with the lock */
DSACommandError dsa_enable_check_device(DSAState *s);
DSACommandError dsa_enable_check_wq(DSAState *s, unsigned wq);

/* The first part of the Device Enable Checks; with the lock */
DSACommandError dsa_enable_check_groups(DSAState *s);

/* Tell engines and WQs their groups; with the lock, after the check */
void dsa_enable_assign_groups(DSAState *s);

/* ---- command.c ---- */

/* CMD has been written; with the lock */
void dsa_command_submit(DSAState *s, uint32_t val);

/* A descriptor has ended: does the command have to wait on?  With the lock */
void dsa_command_poll(DSAState *s);

/* Finish a command whose wait is over; with the BQL and the lock */
void dsa_command_finish(DSAState *s);

/* ---- portal.c ---- */

void dsa_portal_init(DSAState *s);
bool dsa_portal_direct_store(DirectStoreTarget *target, MemoryRegion *mr,
                             hwaddr addr, const void *data, MemTxAttrs attrs);
bool dsa_portal_enqueue_store(DirectStoreTarget *target, MemoryRegion *mr,
                              hwaddr addr, const void *data,
                              MemTxAttrs attrs);

/* ---- wq.c ---- */

/* All with the lock */
bool dsa_wq_push(DSAState *s, unsigned wq, const void *raw);
bool dsa_wq_pop(DSAState *s, DSAEngine *engine);
/* Set, in all descriptors, what no migration stream holds */
void dsa_wq_load(DSAState *s);
/* Is there a descriptor that has not ended? */
bool dsa_wq_outstanding(DSAState *s, const DSAFilter *filter);
/* Discard those that wait, have engines abandon the others */
void dsa_wq_abort(DSAState *s, const DSAFilter *filter);
void dsa_wq_check_occupancy_int(DSAState *s, unsigned wq);
#define DSA_WQ_FIELD(wq, n, field)                                          \
    extract64((wq)->cfg[n], R_DSA_WQCFG ## n ## _ ## field ## _SHIFT,       \
              R_DSA_WQCFG ## n ## _ ## field ## _LENGTH)

/* ---- engine.c ---- */

void dsa_engines_start(DSAState *s);
/*
 * End them, and drop all further accesses to the device.  With the BQL, for
 * which no engine waits, not with the lock; does not wait for the guest.
 */
void dsa_engines_stop(DSAState *s);
/*
 * Have all engines put aside or abandon what they execute.  When this returns
 * none accesses memory; what has not been aborted goes on from where it is
 * after dsa_engines_resume().  With the BQL, for which no engine waits, not
 * with the lock.
 */
void dsa_engines_pause(DSAState *s);
/* Forget what was put aside, after dsa_engines_pause(); with the lock */
void dsa_engines_discard(DSAState *s);
/* The same; does nothing while the machine is stopped */
void dsa_engines_resume(DSAState *s);
/* Wake an engine that can do the work of a group; with the lock */
void dsa_engine_wake(DSAState *s, int group);

/* ---- descriptor.c ---- */

void dsa_descriptor_decode(DSADescriptor *desc, const uint8_t *raw);
/* Descriptor Checks (5.4); false after setting the status of @job */
bool dsa_descriptor_check(DSAJob *job);
/* Those of them that operations rely on */
bool dsa_descriptor_can_run(const DSAJob *job);
/* May the descriptor use its Completion Interrupt Handle? (Table 5-2) */
bool dsa_descriptor_int_valid(const DSAJob *job);
/* Bytes that an operation writes to its destination at most */
uint64_t dsa_descriptor_dst_size(const DSADescriptor *desc);
/* Flags that the check found to be invalid */
uint32_t dsa_job_invalid_flags(const DSAJob *job);

/* ---- job.c ---- */

/* Has the job to be put aside or abandoned?  No lock; sets @interrupted. */
bool dsa_job_interrupted(DSAJob *job);

/* Forget an error that does not matter */
void dsa_job_clear_error(DSAJob *job);

/*
 * Execute a descriptor, and complete it; in the thread of an engine.  False if
 * it was interrupted: the next call goes on with it.
 */
bool dsa_job_execute(DSAJob *job);

/* ---- completion.c ---- */

/*
 * Write the completion record, report errors, raise the interrupt.  False if
 * interrupted, with nothing reported yet.
 */
bool dsa_job_complete(DSAJob *job);

/* ---- swerror.c ---- */

/* Record an error, described by all fields but Valid; with the lock */
void dsa_swerror_record(DSAState *s,
                        const uint64_t swerror[DSA_SWERROR_QWORDS]);
/* Record an error of a WQ, or with -1 of none; with the lock */
void dsa_swerror(DSAState *s, DSAStatus error, int wq);

/* ---- event_log.c ---- */

/*
 * dsa_event_log_enabled: is the event log used while the device is enabled?
 *
 * Called with the lock.
 */
bool dsa_event_log_enabled(const DSAState *s);

/*
 * dsa_event_log_read: read EVLCFG or EVLSTATUS (9.2.16, 9.2.17)
 *
 * Called with the lock.
 *
 * @addr: of a quadword of the two
 *
 * Returns: its value; 0 without event log
 */
uint64_t dsa_event_log_read(const DSAState *s, hwaddr addr);

/*
 * dsa_event_log_write: write to EVLCFG or EVLSTATUS
 *
 * Called with the lock.  Signals @completed to engines that wait because the
 * log was full.
 *
 * @addr: of a quadword of the two
 * @val: the value
 * @mask: bits of @val that are written
 */
void dsa_event_log_write(DSAState *s, hwaddr addr, uint64_t val, uint64_t mask);

/*
 * dsa_event_log_check: that part of the Device Enable Checks (5.1)
 *
 * Called with the lock.
 *
 * Returns: DSA_CMDERR_EVENT_LOG if the log is too small or reaches beyond the
 * end of the address space, DSA_CMDERR_PASID if it is written to with what
 * the PASID capability has not enabled, else 0
 */
DSACommandError dsa_event_log_check(const DSAState *s);

/* The device has been enabled; with the lock */
void dsa_event_log_start(DSAState *s);

/* Reset Device (Table 9-3); with the lock */
void dsa_event_log_reset_config(DSAState *s);

/* FLR, while no engine executes anything; with the lock */
void dsa_event_log_reset(DSAState *s);

/*
 * dsa_event_log_append: append an entry (5.9)
 *
 * Called by the thread of an engine, without the lock.  Waits for room, and
 * for other engines; asks for no pages.  An entry that cannot be written is
 * lost and recorded in SWERROR.
 *
 * @job: what the engine executes
 * @entry: DSA_EVENT_SIZE bytes
 *
 * Returns: false if @job was interrupted and nothing has been appended
 */
bool dsa_event_log_append(DSAJob *job, const uint8_t *entry);

/*
 * dsa_event_log_check_load: check what a migration stream holds
 *
 * @s: what has been loaded, with all its registers
 *
 * Returns: NULL, or the name of what is invalid
 */
const char *dsa_event_log_check_load(const DSAState *s);

/* ---- memory.c ---- */

/*
 * Move data, as the job's work and flags tell, and set @moved to how much.
 * False if this is not all: the job has been interrupted, or its status and
 * fault address have been set.  Nothing of the job is touched otherwise.  A
 * range that reaches the end of the address space goes on at its beginning.
 */
bool dsa_read(DSAJob *job, uint64_t addr, void *buf, size_t len,
              size_t *moved);
bool dsa_write(DSAJob *job, uint64_t addr, const void *buf, size_t len,
               size_t *moved);
/*
 * Visit what is left of the operands, which begin at @ranges; @fn gets the job
 * and advances Bytes Completed.  True if there is more, at the end of the
 * address space; false at the end of the operands, and as above.
 */
bool dsa_visit(DSAJob *job, const PCIATSDMARange *ranges, unsigned n,
               PCIATSDMAVisitRanges *fn);
/*
 * Operations that work on a copy of their data would ask for few pages at a
 * time.  At times this tells them to use dsa_bring_in(), each time for the next
 * DSA_AHEAD bytes.
 */
bool dsa_should_bring_in(DSAJob *job);
/* Ask for all missing pages of a range; errors show when it is accessed */
void dsa_bring_in(DSAJob *job, uint64_t addr, uint64_t len, DMADirection dir);
/* As dsa_read(), for what is not data: page requests whatever the flags say */
bool dsa_read_blocking(DSAJob *job, uint64_t addr, void *buf, size_t len);
bool dsa_write_blocking(DSAJob *job, uint64_t addr, const void *buf,
                        size_t len);

/* ---- ops-*.c ---- */

/*
 * An operation is done in steps.  Each does a part of it from where the job
 * says that the last one has come to; it may have been less than it was to be
 * if the job has been interrupted, which each notices after 256 KiB.
 *
 * @step: returns false if there is no more to be done, or not possible
 * @finish: called once, after the last step of a job that was not interrupted
 */
typedef struct DSAOperationType {
    bool (*step)(DSAJob *job);
    void (*finish)(DSAJob *job);
} DSAOperationType;

/* Bytes Completed and Result have a meaning only when not all has been done */
void dsa_finish_move(DSAJob *job);

/* Fill @len bytes, the first of which is the one at @pos of a larger range */
void dsa_fill_pattern(uint8_t *buf, size_t len, uint64_t pattern, uint32_t pos);

extern const DSAOperationType dsa_op_batch, dsa_op_drain;
extern const DSAOperationType dsa_op_memory_move, dsa_op_fill, dsa_op_dualcast;
extern const DSAOperationType dsa_op_cache_flush;
extern const DSAOperationType dsa_op_compare, dsa_op_compare_pattern;
extern const DSAOperationType dsa_op_create_delta, dsa_op_apply_delta;
extern const DSAOperationType dsa_op_crc, dsa_op_copy_crc, dsa_op_dif;

/* ---- load.c ---- */

/*
 * dsa_load_check: check what a migration stream holds, before it is used
 *
 * @image: what has been loaded.  Its engines' jobs are decoded from their
 *         descriptors.
 *
 * Returns: NULL, or the name of a field that is invalid
 */
const char *dsa_load_check(DSAState *image);

/*
 * dsa_load_commit: take over what has been checked
 *
 * Called with the lock, while no engine executes anything.
 *
 * @image: what dsa_load_check() has found to be valid
 */
void dsa_load_commit(DSAState *s, const DSAState *image);

/* ---- vmstate.c ---- */

extern const VMStateDescription vmstate_dsa;

/* Forget what has been loaded and not been taken over; with the BQL */
void dsa_image_free(DSAState *s);

#endif
