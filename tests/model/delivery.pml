/* The delivery protocol: what consumer, offset window and transactional publisher do with events while
 * processes die, stop and lose their partitions. README.md says what is left out, why that is sound, and
 * how to run this.
 *
 * The names are those of the code: src/flow/{window,batch,assign,publish,pipeline}.c,
 * src/kafka/{clients,consumer,publisher,producer}.c.
 * An inline stands for the function of its name. One step of a process is one request, answer or round of
 * the event loop. Any two steps may happen in either order.
 *
 * With AT_LEAST_ONCE it is the protocol without transactions: records are visible when they arrive, whoever
 * sent them, and the consumer commits the positions afterwards. ABORTS are then commits without an answer,
 * UNKNOWNS are lost acknowledgements.
 *
 * Sets of offsets are bit sets, bit o for offset o. In the code the set in a commit's metadata
 * begins at the base offset; here it begins at 0, which is equivalent.
 */

/* --- The bound --- */

#ifndef PARTITIONS
#define PARTITIONS 1
#endif
/* Offsets of each partition's log, and those with a record. The others were control records or compacted,
 * and are never delivered. */
#ifndef OFFSETS
#define OFFSETS 4
#endif
#ifndef EVENTS_0
#define EVENTS_0 13 /* 0, 2 and 3; nothing at 1 */
#endif
#ifndef EVENTS_1
#define EVENTS_1 1
#endif
#ifndef WINDOW_SPAN
#define WINDOW_SPAN 3
#endif
/* How often each fault may happen. */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef PAUSES
#define PAUSES 1
#endif
#ifndef REBALANCES
#define REBALANCES 1
#endif
#ifndef ABORTS
#define ABORTS 1
#endif
#ifndef UNKNOWNS
#define UNKNOWNS 1
#endif
/* Replacements of clients, of any kind. */
#ifndef RENEWALS
#define RENEWALS 0
#endif
/* Outcomes that their topic rejects. */
#ifndef REFUSALS
#define REFUSALS 0
#endif
/* A loses the right to its transactional.id, permanently. */
#ifndef DENIALS
#define DENIALS 0
#endif

#define DAEMONS 2

#define BIT(o)    (1 << (o))
#define BELOW(o)  ((1 << (o)) - 1)
#define ALL       BELOW(OFFSETS)
#define EVENTS(p) (p == 0 -> EVENTS_0 : EVENTS_1)
/* The done offsets of a position (offset, set). */
#define DONE_OF(offset, set) (BELOW(offset) | (set))
#define NAME(i)   (65 + (i)) /* "A", "B" in a trace */

/* Without a safeguard, only effects that consumers of the outcomes see are checked, so that the trace shows
 * them. */
#ifdef ABLATION
#define INVARIANT(condition) skip
#else
#define INVARIANT(condition) assert(condition)
#endif

/* --- A daemon --- */

mtype:life = {RUNNING, PAUSED, DEAD};
/* TAKING: in no group, since the transactional.id is not held yet. LOOKING: positions are not known. */
mtype:consumer = {TAKING, LOOKING, ASSIGNED, REVOKING};
/* The generation of the group. Only "current or earlier" matters; without numbers there are fewer states. */
mtype:session = {NO_SESSION, CURRENT, STALE};
/* ACQUIRING: the producer does not hold its transactional.id. From OFFSETS_SENT on a transaction
 * is open. COMMIT_UNKNOWN: the result of the commit is not known; the producer must be replaced. */
mtype:publisher = {ACQUIRING, READY, OFFSETS_SENT, COMMITTING, COMMIT_UNKNOWN, READING_BACK};
mtype:verdict = {TRANSACTION_COMMITTED, TRANSACTION_ABORTED, TRANSACTION_STALE, TRANSACTION_RECORDS_REFUSED};

typedef position {
    bool in; /* the batch moves this partition */
    byte offset;
    byte metadata;
};

typedef window_state {
    byte base_offset;
    byte next;
    byte done;
};

/* Where the jobs of one partition are. */
typedef partition {
    window_state win;
    byte calling;
    byte completed;
    byte suspects; /* completed, and rejected by their topic */
#ifdef AT_LEAST_ONCE
    byte delivered; /* of the completed ones: visible, and not in a committed position */
#endif
};

typedef daemon {
    mtype:life life;

    mtype:consumer consumer;
    mtype:session session;
    byte mine;    /* bit set of partitions */
    byte known;   /* those whose position is known */
    partition partitions[PARTITIONS];

    bool publishing;
    bool trying;   /* the batch is one of suspects */
    bool orphaned; /* the batch's partitions were taken away meanwhile */
    mtype:session batch_session;
    byte records[PARTITIONS]; /* offsets whose outcomes are in the batch */
    position positions[PARTITIONS];

    mtype:publisher publisher;
    bool refused;          /* NOT_OURS: no further batch with this group metadata */
};

daemon d[DAEMONS];

/* --- The broker --- */

mtype:txn = {EMPTY, ONGOING, PREPARE_COMMIT};
mtype:answer = {NO_ANSWER, ANSWER_OK, ANSWER_FENCED};

/* The group's coordinator. */
bool preparing; /* a rebalance is in progress */
bool member[DAEMONS], joined[DAEMONS];
byte owner[PARTITIONS];

/* The transaction coordinator, one transactional.id for each daemon. */
typedef transaction {
    mtype:txn state;
    bool fenced;      /* timed out and aborted: what the producer sends next is rejected */
    bool commit_sent; /* a commit is in transit; its sender may have died */
    mtype:answer answer;
    byte records[PARTITIONS];
    position positions[PARTITIONS];
};
transaction txn[DAEMONS];

/* What consumers can read. */
position committed[PARTITIONS];
byte visible[PARTITIONS]; /* offsets of events with a committed outcome */

bool denied; /* A may not have its transactional.id */
#define DENIED(i) (i == 0 && denied)

#ifdef AT_LEAST_ONCE
bool excused; /* there was a crash, a loss of partitions or a lost acknowledgement */
mtype:session sent_session[DAEMONS]; /* of the commit in transit */
#define EXCUSE excused = 1
#else
#define EXCUSE skip
#endif

byte crashes, pauses, rebalances, aborts, unknowns, renewals, refusals;

#ifdef STALE_POSITIONS
/* The result of a daemon's first lookup of a partition. */
position looked_up[DAEMONS * PARTITIONS];
#endif

/* Scratch, used only within one atomic step, so it is not part of a state. (A breadth-first search does not
 * permit hidden variables.) */
#ifndef SCRATCH
#define SCRATCH hidden
#endif
SCRATCH byte p, o, j, set, equal;
/* Only for the traces. */
SCRATCH byte generation, session_number[DAEMONS], batch_number[DAEMONS];

/* --- The offset window: window.c --- */

inline advance(window)
{
    do
    :: window.base_offset < window.next && (window.done & BIT(window.base_offset)) ->
        window.done = window.done & ~BIT(window.base_offset);
        window.base_offset++
    :: else -> break
    od
}

inline window_load(window, at)
{
    window.base_offset = at.offset;
    window.next = at.offset;
#ifdef NO_DONE_SET
    window.done = 0
#else
    window.done = at.metadata
#endif
}

/* Earlier offsets that were not delivered will never be. */
inline window_arrive(window, offset, known)
{
    window.done = window.done | (BELOW(offset) & ~BELOW(window.next));
    known = (window.done & BIT(offset)) != 0;
    window.next = offset + 1;
    advance(window)
}

inline window_finish(window, offset)
{
    if
    :: offset >= window.base_offset && offset < window.next ->
        window.done = window.done | BIT(offset);
        advance(window)
    :: else
    fi
}

/* --- The batch: batch.c --- */

SCRATCH window_state pending;

inline window_copy(to, from)
{
    to.base_offset = from.base_offset;
    to.next = from.next;
    to.done = from.done
}

inline window_finish_all(window, offsets)
{
    for (o : 0 .. OFFSETS - 1) {
        if
        :: (offsets) & BIT(o) -> window_finish(window, o)
        :: else
        fi
    }
}

inline window_encode(at)
{
    at.in = 1;
#ifdef COMMIT_HIGHEST
    at.offset = pending.base_offset;
    for (o : 0 .. OFFSETS - 1) {
        if
        :: pending.done & BIT(o) -> at.offset = o + 1
        :: else
        fi
    }
    at.metadata = 0;
#else
    at.offset = pending.base_offset;
#ifdef NO_UNION
    at.metadata = pending.done & BELOW(pending.next);
#else
    at.metadata = pending.done;
#endif
#endif
}

inline position_clear(at)
{
    at.in = 0;
    at.offset = 0;
    at.metadata = 0
}

/* Everything that is completed in each partition, or all suspects; never both. The windows still say what is
 * committed; the batch's effect is in the pending windows. */
inline batch_fill(i, suspects_only)
{
    d[i].trying = suspects_only;
    d[i].batch_session = d[i].session;
    batch_number[i] = session_number[i];
    for (p : 0 .. PARTITIONS - 1) {
        if
        :: suspects_only ->
            set = d[i].partitions[p].suspects;
            d[i].partitions[p].suspects = 0
        :: else ->
            set = d[i].partitions[p].completed;
            d[i].partitions[p].completed = 0
        fi;
        if
        :: set ->
            window_copy(pending, d[i].partitions[p].win);
            window_finish_all(pending, set);
            window_encode(d[i].positions[p]);
            d[i].records[p] = set;
#ifdef NO_PENDING
            window_finish_all(d[i].partitions[p].win, set);
#endif
            printf("%c  batch_fill: partition %d, outcomes of set(%d); commits offset %d with set(%d), generation %d\n",
                   NAME(i), p, set, d[i].positions[p].offset, d[i].positions[p].metadata,
                   batch_number[i])
        :: else
        fi
    }
    d[i].publishing = 1 /* a loop may not end a d_step */
}

inline batch_commit(i)
{
    for (p : 0 .. PARTITIONS - 1) {
        window_finish_all(d[i].partitions[p].win, d[i].records[p])
#ifdef AT_LEAST_ONCE
        ;
        d[i].partitions[p].delivered = d[i].partitions[p].delivered & ~d[i].records[p]
#endif
    }
}

/* Moves the outcomes back. */
inline batch_undo(i)
{
#ifdef NO_UNDO
    skip
#else
    for (p : 0 .. PARTITIONS - 1) {
        if
        :: d[i].trying ->
            d[i].partitions[p].suspects = d[i].partitions[p].suspects | d[i].records[p]
#ifdef AT_LEAST_ONCE
            ;
            set = d[i].partitions[p].suspects & d[i].partitions[p].delivered;
            d[i].partitions[p].suspects = d[i].partitions[p].suspects & ~set;
            d[i].partitions[p].completed = d[i].partitions[p].completed | set
#endif
        :: else -> d[i].partitions[p].completed = d[i].partitions[p].completed | d[i].records[p]
        fi
    }
#endif
}

inline batch_end(i)
{
    for (p : 0 .. PARTITIONS - 1) {
        d[i].records[p] = 0;
        position_clear(d[i].positions[p])
    }
    d[i].publishing = 0;
    d[i].trying = 0;
    d[i].orphaned = 0;
    d[i].batch_session = NO_SESSION
}

/* --- The pipeline: pipeline.c --- */

inline partitions_deinit(i)
{
    for (p : 0 .. PARTITIONS - 1) {
        d[i].partitions[p].win.base_offset = 0;
        d[i].partitions[p].win.next = 0;
        d[i].partitions[p].win.done = 0;
        d[i].partitions[p].calling = 0;
        d[i].partitions[p].completed = 0;
        d[i].partitions[p].suspects = 0;
#ifdef AT_LEAST_ONCE
        d[i].partitions[p].delivered = 0
#endif
    }
}

/* Calls in flight become orphans, whose outcomes are discarded. A batch is left to its end. */
inline assign_drop(i)
{
    partitions_deinit(i);
#ifndef NO_ORPHANS
    d[i].orphaned = d[i].publishing;
#endif
    d[i].session = NO_SESSION;
    d[i].mine = 0;
    d[i].known = 0;
    d[i].refused = 0;
    d[i].consumer = LOOKING
}

#ifdef STALE_POSITIONS
inline lookup(i, at)
{
    if
    :: looked_up[i * PARTITIONS + p].in
    :: else ->
        looked_up[i * PARTITIONS + p].in = 1;
        looked_up[i * PARTITIONS + p].offset = committed[p].offset;
        looked_up[i * PARTITIONS + p].metadata = committed[p].metadata
    fi;
    window_load(d[i].partitions[p].win, looked_up[i * PARTITIONS + p])
}
#else
inline lookup(i, at) { window_load(d[i].partitions[p].win, committed[at]) }
#endif

/* Each partition separately, as its position becomes known. */
inline assign_positions(i, at)
{
    p = at;
    lookup(i, p);
    printf("%c  assign_positions: partition %d in generation %d; window_load: base offset %d, done set(%d)\n",
           NAME(i), p, session_number[i], d[i].partitions[p].win.base_offset,
           d[i].partitions[p].win.done);
    /* Every offset with an outcome is in the window as done. */
#ifndef AT_LEAST_ONCE
    INVARIANT((visible[p] & ~DONE_OF(d[i].partitions[p].win.base_offset,
                                     d[i].partitions[p].win.done)) == 0);
#endif
    d[i].known = d[i].known | BIT(p);
    d[i].consumer = ASSIGNED
}

/* The next record, if it fits into the window. A new one is called. */
inline pipeline_record(i, offset)
{
    window_arrive(d[i].partitions[p].win, offset, equal);
    if
    :: equal ->
        printf("%c  window_arrive: partition %d offset %d is already completed\n", NAME(i), p, offset)
    :: else ->
        d[i].partitions[p].calling = d[i].partitions[p].calling | BIT(offset);
        printf("%c  window_arrive: partition %d offset %d is new; it is called\n", NAME(i), p,
               offset)
    fi
}

/* The loop learns of it a little later, which is the same as a slower publisher. */
inline pipeline_batch_ended(i, verdict)
{
    if
    :: d[i].orphaned ->
        printf("%c  pipeline_batch_ended: stale, its partitions belong to another\n", NAME(i))
    :: !d[i].orphaned && verdict == TRANSACTION_COMMITTED ->
        printf("%c  pipeline_batch_ended: committed\n", NAME(i));
        batch_commit(i)
    :: else ->
        printf("%c  pipeline_batch_ended: not committed\n", NAME(i));
        batch_undo(i);
        d[i].refused = (verdict == TRANSACTION_STALE && d[i].session == STALE)
    fi;
    batch_end(i)
}

/* --- The group's coordinator --- */

inline rebalance_begin()
{
    if
    :: !preparing ->
        preparing = 1;
        for (j : 0 .. DAEMONS - 1) {
            joined[j] = 0
        }
    :: else
    fi
}

inline session_ends(i)
{
    if
    :: d[i].session == CURRENT -> d[i].session = STALE
    :: else
    fi;
    if
    :: d[i].batch_session == CURRENT -> d[i].batch_session = STALE
    :: else
    fi
#ifdef AT_LEAST_ONCE
    ;
    if
    :: sent_session[i] == CURRENT -> sent_session[i] = STALE
    :: else
    fi
#endif
}

/* A static member that returns while the group is stable gets its assignment back (KIP-345), with a new id that
 * ends the old one. In all other cases the group rebalances. */
inline join(i)
{
    if
    :: member[i] && !preparing ->
        session_ends(i);
        d[i].session = CURRENT;
        session_number[i] = generation;
        for (p : 0 .. PARTITIONS - 1) {
            if
            :: owner[p] == i -> d[i].mine = d[i].mine | BIT(p)
            :: else
            fi
        }
        printf("%c  joins again as the same member, generation %d\n", NAME(i), generation)
    :: else ->
        rebalance_begin();
        member[i] = 1;
        joined[i] = 1;
        printf("%c  joins the group\n", NAME(i))
    fi
}

/* Any assignment of partitions to members, more than an assignor makes. */
inline rebalance_end()
{
    preparing = 0;
    generation++;
    for (p : 0 .. PARTITIONS - 1) {
        if
        :: member[0] -> owner[p] = 0
        :: member[1] -> owner[p] = 1
        fi;
        if
        :: d[owner[p]].consumer != TAKING -> d[owner[p]].mine = d[owner[p]].mine | BIT(p)
        :: else
        fi;
        printf("group: generation %d, partition %d goes to %c\n", generation, p, NAME(owner[p]))
    }
    for (j : 0 .. DAEMONS - 1) {
        joined[j] = 0;
        session_ends(j);
        if
        :: member[j] && d[j].consumer != TAKING ->
            d[j].session = CURRENT;
            session_number[j] = generation
        :: else
        fi
    }
}

inline session_times_out(i)
{
    EXCUSE;
    printf("group: %c timed out and loses its partitions\n", NAME(i));
    member[i] = 0;
    joined[i] = 0;
    session_ends(i);
    rebalance_begin()
}

/* --- The transaction coordinator --- */

inline transaction_clear(i)
{
    for (p : 0 .. PARTITIONS - 1) {
        txn[i].records[p] = 0;
        position_clear(txn[i].positions[p])
    }
    txn[i].state = EMPTY
}

inline transaction_times_out(i)
{
    printf("coordinator: %c's transaction timed out and is aborted\n", NAME(i));
    transaction_clear(i);
    if
    :: d[i].life == DEAD -> txn[i].commit_sent = 0 /* it is rejected */
    :: else -> txn[i].fenced = 1
    fi
}

/* The commit arrives, early or late. After the decision the outcomes are visible. */
inline end_transaction(i)
{
    txn[i].commit_sent = 0;
    if
    :: txn[i].fenced || txn[i].state != ONGOING ->
        txn[i].answer = ANSWER_FENCED;
        printf("coordinator: rejects %c's commit\n", NAME(i))
    :: else ->
        txn[i].state = PREPARE_COMMIT;
        txn[i].answer = ANSWER_OK;
        for (p : 0 .. PARTITIONS - 1) {
            if
            :: txn[i].records[p] ->
                printf("coordinator: %c's transaction is committed: partition %d, outcomes of set(%d)\n",
                       NAME(i), p, txn[i].records[p]);
                if
                :: visible[p] & txn[i].records[p] ->
                    printf("*** a second outcome: partition %d, offsets set(%d)\n", p,
                           visible[p] & txn[i].records[p])
                :: else
                fi;
                assert((visible[p] & txn[i].records[p]) == 0);
                visible[p] = visible[p] | txn[i].records[p]
            :: else
            fi
        }
    fi;
    if
    :: d[i].publisher != COMMITTING -> txn[i].answer = NO_ANSWER /* no process waits for it */
    :: else
    fi
}

/* The markers are written: now the offsets are readable, and the next transaction may begin. */
inline write_markers(i)
{
    for (p : 0 .. PARTITIONS - 1) {
        if
        :: txn[i].positions[p].in ->
            /* Done offsets stay done, and no offset is done without an outcome. */
            set = DONE_OF(txn[i].positions[p].offset, txn[i].positions[p].metadata);
            INVARIANT((DONE_OF(committed[p].offset, committed[p].metadata) & ~set) == 0);
            INVARIANT((set & EVENTS(p) & ~visible[p]) == 0);
            committed[p].offset = txn[i].positions[p].offset;
            committed[p].metadata = txn[i].positions[p].metadata;
            printf("coordinator: partition %d now at offset %d with set(%d)\n", p,
                   committed[p].offset, committed[p].metadata)
        :: else
        fi
    }
    transaction_clear(i)
}

#define PENDING_OF(i, p) (txn[i].state != EMPTY && txn[i].positions[p].in)
/* Offsets are known when no transaction with them is open (KIP-447). */
#ifdef NO_STABLE
#define STABLE(p) true
#else
#define STABLE(p) (!PENDING_OF(0, p) && !PENDING_OF(1, p))
#endif
#define LOOKUP_READY(i, p)                                                              \
    ((d[i].consumer == LOOKING || d[i].consumer == ASSIGNED) && d[i].session != NO_SESSION && \
     (d[i].mine & BIT(p)) && !(d[i].known & BIT(p)) && STABLE(p))
#if PARTITIONS > 1
#define READ_BACK_READY(i) \
    ((!d[i].positions[0].in || STABLE(0)) && (!d[i].positions[1].in || STABLE(1)))
#define COMPLETED_ANY(i)  (d[i].partitions[0].completed || d[i].partitions[1].completed)
#define SUSPECTS_ANY(i) (d[i].partitions[0].suspects || d[i].partitions[1].suspects)
#else
#define READ_BACK_READY(i) (!d[i].positions[0].in || STABLE(0))
#define COMPLETED_ANY(i)     (d[i].partitions[0].completed)
#define SUSPECTS_ANY(i)    (d[i].partitions[0].suspects)
#endif

/* --- The publisher's thread: producer.c --- */

/* init_transactions: fences the previous producer and aborts its open transaction. */
inline producer_acquire(i)
{
    txn[i].commit_sent = 0; /* has an old epoch from now on */
    txn[i].answer = NO_ANSWER;
    txn[i].fenced = 0;
    if
    :: txn[i].state == ONGOING -> transaction_clear(i)
    :: else
    fi;
    printf("%c  producer_acquire: holds its transactional.id, no transaction is open\n", NAME(i))
}

/* The group metadata under which the batch's events were read, not the newest one. */
#ifdef LATE_SESSION
#define SENT_SESSION(i) d[i].session
#else
#define SENT_SESSION(i) d[i].batch_session
#endif
inline send_offsets(i)
{
    if
    :: txn[i].fenced ->
        d[i].publisher = ACQUIRING;
        pipeline_batch_ended(i, TRANSACTION_ABORTED)
#ifndef NO_FENCING
    :: else ->
        if
        :: SENT_SESSION(i) != CURRENT ->
            printf("%c  send_offsets: generation %d is rejected as stale\n", NAME(i), batch_number[i]);
            pipeline_batch_ended(i, TRANSACTION_STALE)
        :: else ->
#else
    :: else ->
        if
        :: true ->
#endif
            printf("%c  send_offsets: generation %d is accepted\n", NAME(i), batch_number[i]);
            txn[i].state = ONGOING;
            for (p : 0 .. PARTITIONS - 1) {
                txn[i].positions[p].in = d[i].positions[p].in;
                txn[i].positions[p].offset = d[i].positions[p].offset;
                txn[i].positions[p].metadata = d[i].positions[p].metadata
            }
            d[i].publisher = OFFSETS_SENT
        fi
    fi
}

/* Together with the commit's request: without one, the transaction is aborted, whatever was written. */
inline deliver_begin_and_commit(i)
{
    if
    :: txn[i].fenced ->
        d[i].publisher = ACQUIRING;
        pipeline_batch_ended(i, TRANSACTION_ABORTED)
    :: else ->
        for (p : 0 .. PARTITIONS - 1) {
            txn[i].records[p] = d[i].records[p]
        }
        txn[i].commit_sent = 1;
        d[i].publisher = COMMITTING;
        printf("%c  deliver_begin, commit: requests sent\n", NAME(i))
    fi
}

inline transact_abort(i)
{
    aborts++;
    printf("%c  the transaction fails and is aborted\n", NAME(i));
    if
    :: txn[i].fenced -> d[i].publisher = ACQUIRING
    :: else ->
        transaction_clear(i);
        d[i].publisher = READY
    fi;
    pipeline_batch_ended(i, TRANSACTION_ABORTED)
}

/* The topic rejects one outcome: it is a suspect from now on, the others are unchanged. */
inline records_refused(i, at, offset)
{
    refusals++;
    printf("%c  partition %d offset %d: its outcome is refused, the transaction is aborted\n",
           NAME(i), at, offset);
    if
    :: txn[i].fenced -> d[i].publisher = ACQUIRING
    :: else ->
        transaction_clear(i);
        d[i].publisher = READY
    fi;
    if
    :: d[i].orphaned
    :: else ->
        d[i].records[at] = d[i].records[at] & ~BIT(offset);
        d[i].partitions[at].suspects = d[i].partitions[at].suspects | BIT(offset)
    fi;
    pipeline_batch_ended(i, TRANSACTION_RECORDS_REFUSED)
}

inline commit_answered(i)
{
    if
    :: txn[i].answer == ANSWER_OK ->
        d[i].publisher = READY;
        pipeline_batch_ended(i, TRANSACTION_COMMITTED)
    :: else -> d[i].publisher = COMMIT_UNKNOWN
    fi;
    txn[i].answer = NO_ANSWER
}

inline commit_unknown(i)
{
    unknowns++;
    txn[i].answer = NO_ANSWER;
    printf("%c  commit: no response, its result is unknown\n", NAME(i));
#ifdef NO_REINIT
    d[i].publisher = ACQUIRING;
    pipeline_batch_ended(i, TRANSACTION_ABORTED)
#else
    d[i].publisher = COMMIT_UNKNOWN
#endif
}

inline read_back(i)
{
    equal = 1;
    for (p : 0 .. PARTITIONS - 1) {
        if
        :: d[i].positions[p].in && (d[i].positions[p].offset != committed[p].offset ||
                                    d[i].positions[p].metadata != committed[p].metadata) ->
            equal = 0
        :: else
        fi
    }
    if
    :: equal ->
        printf("%c  read_back: the committed offsets are those of the batch\n", NAME(i));
        pipeline_batch_ended(i, TRANSACTION_COMMITTED)
    :: else ->
        printf("%c  read_back: the committed offsets are not those of the batch\n", NAME(i));
        pipeline_batch_ended(i, TRANSACTION_ABORTED)
    fi;
    d[i].publisher = READY
}

#ifdef AT_LEAST_ONCE
/* --- Without transactions: deliver.c, clients.c, consumer.c --- */

inline positions_send(i)
{
    for (p : 0 .. PARTITIONS - 1) {
        txn[i].positions[p].in = d[i].positions[p].in;
        txn[i].positions[p].offset = d[i].positions[p].offset;
        txn[i].positions[p].metadata = d[i].positions[p].metadata
    }
}

/* Those that are not visible yet. */
inline deliver_run(i)
{
#ifdef POSITIONS_FIRST
    positions_send(i);
    write_markers(i);
#endif
    equal = 0;
    for (p : 0 .. PARTITIONS - 1) {
        txn[i].records[p] = d[i].records[p];
#ifndef NO_DELIVERED
        txn[i].records[p] = txn[i].records[p] & ~d[i].partitions[p].delivered;
#endif
        equal = equal | txn[i].records[p]
    }
    d[i].publisher = OFFSETS_SENT;
    txn[i].commit_sent = (equal != 0);
    txn[i].answer = (equal != 0 -> NO_ANSWER : ANSWER_OK);
    printf("%c  deliver_run: requests sent\n", NAME(i))
}

/* Records are not fenced. */
inline records_arrive(i)
{
    txn[i].commit_sent = 0;
    for (p : 0 .. PARTITIONS - 1) {
        if
        :: txn[i].records[p] ->
            printf("broker: partition %d, outcomes of set(%d) by %c\n", p, txn[i].records[p], NAME(i));
            if
            :: (visible[p] & txn[i].records[p]) && !excused ->
                printf("*** a second outcome without a cause: partition %d, offsets set(%d)\n", p,
                       visible[p] & txn[i].records[p])
            :: else
            fi;
            assert(excused || (visible[p] & txn[i].records[p]) == 0);
            visible[p] = visible[p] | txn[i].records[p];
            txn[i].records[p] = 0
        :: else
        fi
    }
    txn[i].answer = (d[i].publisher == OFFSETS_SENT -> ANSWER_OK : NO_ANSWER)
}

/* By the consumer's membership, while the batch's assignment is the consumer's. */
inline consumer_commit(i)
{
    if
    :: d[i].orphaned || d[i].batch_session == NO_SESSION ->
        d[i].publisher = READY;
        pipeline_batch_ended(i, TRANSACTION_STALE)
    :: else ->
        positions_send(i);
        txn[i].state = ONGOING;
        sent_session[i] = d[i].batch_session;
        d[i].publisher = COMMITTING;
        printf("%c  consumer_commit: request sent\n", NAME(i))
    fi
}

inline acknowledged(i)
{
    txn[i].answer = NO_ANSWER;
    for (p : 0 .. PARTITIONS - 1) {
        if
        :: !d[i].orphaned ->
            d[i].partitions[p].delivered = d[i].partitions[p].delivered | d[i].records[p]
        :: else
        fi
    }
    printf("%c  all records of the batch are acknowledged\n", NAME(i));
#ifdef POSITIONS_FIRST
    d[i].publisher = READY;
    pipeline_batch_ended(i, TRANSACTION_COMMITTED)
#else
    consumer_commit(i)
#endif
}

inline acknowledgement_lost(i)
{
    unknowns++;
    EXCUSE;
    txn[i].answer = NO_ANSWER;
    printf("%c  *** no acknowledgement\n", NAME(i));
    d[i].publisher = READY;
    pipeline_batch_ended(i, TRANSACTION_ABORTED)
}

/* The group compares generation and member. */
inline offset_commit(i)
{
    if
    :: sent_session[i] == CURRENT ->
        txn[i].answer = ANSWER_OK;
        write_markers(i)
    :: else ->
        printf("group: rejects %c's commit as stale\n", NAME(i));
        txn[i].answer = ANSWER_FENCED;
        for (p : 0 .. PARTITIONS - 1) {
            position_clear(txn[i].positions[p])
        }
        txn[i].state = EMPTY
    fi;
    sent_session[i] = NO_SESSION;
    if
    :: d[i].publisher != COMMITTING -> txn[i].answer = NO_ANSWER
    :: else
    fi
}

inline on_committed(i)
{
    d[i].publisher = READY;
    if
    :: txn[i].answer == ANSWER_OK -> pipeline_batch_ended(i, TRANSACTION_COMMITTED)
    :: else -> pipeline_batch_ended(i, TRANSACTION_STALE)
    fi;
    txn[i].answer = NO_ANSWER
}

/* The commit took effect, and its answer is lost. */
inline answer_lost(i)
{
    aborts++;
    txn[i].answer = NO_ANSWER;
    printf("%c  the answer to the commit is lost\n", NAME(i));
    d[i].publisher = READY;
    pipeline_batch_ended(i, TRANSACTION_ABORTED)
}

/* The partitions are taken away during a commit: the batch ends, the request is on its way. */
inline commit_end(i)
{
    if
    :: d[i].publisher == COMMITTING ->
        d[i].publisher = READY;
        txn[i].answer = NO_ANSWER;
        pipeline_batch_ended(i, TRANSACTION_STALE)
    :: else
    fi
}

/* One outcome is refused; the others are visible, and acknowledged. */
inline record_refused(i, at, offset)
{
    refusals++;
    txn[i].records[at] = txn[i].records[at] & ~BIT(offset);
    records_arrive(i);
    txn[i].answer = NO_ANSWER;
    printf("%c  partition %d offset %d: its outcome is refused\n", NAME(i), at, offset);
    for (p : 0 .. PARTITIONS - 1) {
        if
        :: !d[i].orphaned ->
            set = d[i].records[p];
            if
            :: p == at -> set = set & ~BIT(offset)
            :: else
            fi;
            d[i].partitions[p].delivered = d[i].partitions[p].delivered | set
        :: else
        fi
    }
    if
    :: d[i].orphaned
    :: else ->
        d[i].records[at] = d[i].records[at] & ~BIT(offset);
        d[i].partitions[at].suspects = d[i].partitions[at].suspects | BIT(offset)
    fi;
    d[i].publisher = READY;
    pipeline_batch_ended(i, TRANSACTION_RECORDS_REFUSED)
}

#if PARTITIONS > 1
#define DELIVERED_ANY(i) (d[i].partitions[0].delivered || d[i].partitions[1].delivered)
#else
#define DELIVERED_ANY(i) (d[i].partitions[0].delivered)
#endif
#ifdef NO_WAIT
#define HALF_PUBLISHED(i) false
#else
#define HALF_PUBLISHED(i) (d[i].publishing || DELIVERED_ANY(i))
#endif
#else
#define DELIVERED_ANY(i)  false
#define HALF_PUBLISHED(i) false
inline commit_end(i) { skip }
#endif

/* --- Replaced clients: publisher.c, clients.c --- */

#define COMMIT_BEGUN(i)                                             \
    (d[i].publisher == COMMITTING || d[i].publisher == COMMIT_UNKNOWN || d[i].publisher == READING_BACK)

/* Another producer on another thread. A batch goes back to the pipeline, unless its commit was begun: then the new
 * thread finds out how that ended. The old producer sends nothing more. */
inline worker_take_over(i)
{
    printf("%c  worker_take_over: a new producer\n", NAME(i));
#ifdef AT_LEAST_ONCE
    EXCUSE;
    if
    :: d[i].publishing && d[i].publisher != COMMITTING ->
        txn[i].answer = NO_ANSWER;
        d[i].publisher = READY;
        pipeline_batch_ended(i, TRANSACTION_ABORTED)
    :: else
    fi
#else
    txn[i].answer = NO_ANSWER;
    if
    :: COMMIT_BEGUN(i) ->
#ifdef NO_TAKE_OVER
        d[i].publisher = ACQUIRING;
        pipeline_batch_ended(i, TRANSACTION_ABORTED)
#else
        d[i].publisher = COMMIT_UNKNOWN
#endif
    :: else ->
#ifdef NO_MAY_COMMIT
        if
        :: d[i].publisher == OFFSETS_SENT -> deliver_begin_and_commit(i)
        :: else
        fi;
#endif
        d[i].publisher = ACQUIRING;
        if
        :: d[i].publishing -> pipeline_batch_ended(i, TRANSACTION_ABORTED)
        :: else
        fi
    fi
#endif
}

/* The old consumer sends no LeaveGroup, as a static member. */
inline replace_consumer(i)
{
    printf("%c  replace_consumer: everything is dropped\n", NAME(i));
    EXCUSE;
    commit_end(i);
    assign_drop(i);
    d[i].consumer = TAKING
}

inline clock_check(i)
{
    renewals++;
    printf("%c  *** the clock was set\n", NAME(i));
    worker_take_over(i);
    replace_consumer(i)
}

inline fatal_handle(i)
{
    renewals++;
    printf("%c  *** the consumer failed fatally\n", NAME(i));
    replace_consumer(i)
}

/* The publisher's thread hangs in a call. */
inline on_check(i)
{
    renewals++;
    printf("%c  *** the publisher's thread hangs\n", NAME(i));
    worker_take_over(i)
}

/* At some time the consumer learns of it, or gets no response for long. */
inline echo(i)
{
    renewals++;
    printf("group: *** processes an old join of %c, which fences it\n", NAME(i));
    session_ends(i)
}

inline deny(i)
{
    denied = 1;
    printf("%c  *** loses the right to its transactional.id\n", NAME(i));
    d[i].publisher = ACQUIRING
}

/* The id first, then the group. */
#ifdef NO_ID_FIRST
#define HELD(i)    true
#define REFUSED(i) false
#else
#define HELD(i)    (d[i].publisher != ACQUIRING && d[i].publisher != COMMIT_UNKNOWN)
#define REFUSED(i) (DENIED(i) && d[i].publisher == ACQUIRING)
#endif
inline id_state_check(i)
{
    d[i].consumer = LOOKING;
    join(i)
}

/* --- The processes --- */

#define RUNS(i)     (d[i].life == RUNNING)
#define IN_GROUP(i) (RUNS(i) && d[i].consumer != TAKING)

/* The next offset with a record; OFFSETS: none. */
#define NEXT_EVENT(p, from)                              \
    ((from) <= 0 && (EVENTS(p) & 1) -> 0 :               \
    ((from) <= 1 && (EVENTS(p) & 2) -> 1 :               \
    ((from) <= 2 && (EVENTS(p) & 4) -> 2 :               \
    ((from) <= 3 && (EVENTS(p) & 8) -> 3 : OFFSETS))))
#ifdef EARLY_FETCH
#define READABLE(i) d[i].mine
#else
#define READABLE(i) d[i].known
#endif
#define FETCHABLE(i, p)                                                           \
    (d[i].consumer == ASSIGNED && (READABLE(i) & BIT(p)) &&                         \
     NEXT_EVENT(p, d[i].partitions[p].win.next) < OFFSETS &&                   \
     NEXT_EVENT(p, d[i].partitions[p].win.next) -                              \
         d[i].partitions[p].win.base_offset < WINDOW_SPAN)
#define CALLED(i, p, offset) (d[i].partitions[p].calling & BIT(offset))

inline record_deliver(i, at)
{
    p = at;
    o = NEXT_EVENT(p, d[i].partitions[p].win.next);
    pipeline_record(i, o)
}

inline job_state_complete(i, at, offset)
{
    d[i].partitions[at].calling = d[i].partitions[at].calling & ~BIT(offset);
    d[i].partitions[at].completed = d[i].partitions[at].completed | BIT(offset);
    printf("%c  call ends: partition %d offset %d is completed\n", NAME(i), at, offset)
}

/* The consumer joins again as soon as its partitions are released. */
inline rejoin(i)
{
    assign_drop(i);
    join(i)
}

#define TOLD_TO_REVOKE(i) (member[i] && preparing && !joined[i])
#define IS_STANDBY(i)     (d[i].mine == 0)

/* The event loop. */
proctype event_loop(byte i)
{
end:
    do
    /* consumer */
    :: d_step { RUNS(i) && LOOKUP_READY(i, 0) -> assign_positions(i, 0) }
#if PARTITIONS > 1
    :: d_step { RUNS(i) && LOOKUP_READY(i, 1) -> assign_positions(i, 1) }
#endif
    :: d_step { IN_GROUP(i) && TOLD_TO_REVOKE(i) && (d[i].consumer == LOOKING || IS_STANDBY(i)) ->
           rejoin(i) }
    :: d_step { RUNS(i) && TOLD_TO_REVOKE(i) && d[i].consumer == ASSIGNED && !IS_STANDBY(i) ->
           printf("%c  pipeline_revoking\n", NAME(i));
           d[i].consumer = REVOKING }
    :: d_step { IN_GROUP(i) && !member[i] ->
           printf("%c  pipeline_lost: everything is dropped\n", NAME(i));
           commit_end(i);
           rejoin(i) }
    :: d_step { RUNS(i) && FETCHABLE(i, 0) -> record_deliver(i, 0) }
#if PARTITIONS > 1
    :: d_step { RUNS(i) && FETCHABLE(i, 1) -> record_deliver(i, 1) }
#endif
    /* calls, in any order */
    :: d_step { RUNS(i) && CALLED(i, 0, 0) -> job_state_complete(i, 0, 0) }
    :: d_step { RUNS(i) && CALLED(i, 0, 1) -> job_state_complete(i, 0, 1) }
    :: d_step { RUNS(i) && CALLED(i, 0, 2) -> job_state_complete(i, 0, 2) }
    :: d_step { RUNS(i) && CALLED(i, 0, 3) -> job_state_complete(i, 0, 3) }
#if PARTITIONS > 1
    :: d_step { RUNS(i) && CALLED(i, 1, 0) -> job_state_complete(i, 1, 0) }
    :: d_step { RUNS(i) && CALLED(i, 1, 1) -> job_state_complete(i, 1, 1) }
#endif
    /* publish; publisher_submit */
    :: d_step { RUNS(i) && !d[i].publishing && !d[i].refused && COMPLETED_ANY(i) ->
           batch_fill(i, 0) }
    :: d_step { RUNS(i) && !d[i].publishing && !d[i].refused && SUSPECTS_ANY(i) &&
               !DELIVERED_ANY(i) ->
           batch_fill(i, 1) }
    /* release: no unfinished work, or the group has waited long enough */
    :: d_step { RUNS(i) && d[i].consumer == REVOKING && member[i] && !HALF_PUBLISHED(i) ->
           printf("%c  consumer_release\n", NAME(i));
           rejoin(i) }
    /* clients */
    :: d_step { RUNS(i) && d[i].consumer == TAKING && HELD(i) -> id_state_check(i) }
    :: d_step { IN_GROUP(i) && (REFUSED(i) || (d[i].session == STALE && member[i])) ->
           replace_consumer(i) }
    /* faults */
    :: d_step { IN_GROUP(i) && renewals < RENEWALS -> clock_check(i) }
    :: d_step { IN_GROUP(i) && renewals < RENEWALS -> fatal_handle(i) }
    :: d_step { RUNS(i) && d[i].publishing && renewals < RENEWALS -> on_check(i) }
    od
}

#define REFUSABLE(i, p, offset)                                        \
    (RUNS(i) && d[i].publisher == OFFSETS_SENT && refusals < REFUSALS && \
     (d[i].records[p] & BIT(offset)))

/* The publisher's thread. */
#ifdef AT_LEAST_ONCE
proctype publisher_thread(byte i)
{
end:
    do
    :: d_step { RUNS(i) && d[i].publisher == ACQUIRING -> d[i].publisher = READY }
    :: d_step { RUNS(i) && d[i].publisher == READY && d[i].publishing && !txn[i].commit_sent &&
               txn[i].state == EMPTY ->
           deliver_run(i) }
    :: d_step { RUNS(i) && d[i].publisher == OFFSETS_SENT && txn[i].answer != NO_ANSWER ->
           acknowledged(i) }
    :: d_step { RUNS(i) && d[i].publisher == COMMITTING && txn[i].answer != NO_ANSWER ->
           on_committed(i) }
    /* faults */
    :: d_step { RUNS(i) && d[i].publisher == OFFSETS_SENT && unknowns < UNKNOWNS ->
           acknowledgement_lost(i) }
    :: d_step { RUNS(i) && d[i].publisher == COMMITTING && aborts < ABORTS -> answer_lost(i) }
    :: d_step { REFUSABLE(i, 0, 0) && txn[i].commit_sent && (txn[i].records[0] & 1) ->
           record_refused(i, 0, 0) }
    :: d_step { REFUSABLE(i, 0, 2) && txn[i].commit_sent && (txn[i].records[0] & 4) ->
           record_refused(i, 0, 2) }
    od
}
#else
proctype publisher_thread(byte i)
{
end:
    do
    :: d_step { RUNS(i) && d[i].publisher == ACQUIRING && txn[i].state != PREPARE_COMMIT &&
               !DENIED(i) ->
           producer_acquire(i);
           d[i].publisher = READY }
    :: d_step { RUNS(i) && d[i].publisher == READY && d[i].publishing && txn[i].state == EMPTY ->
           send_offsets(i) }
    :: d_step { RUNS(i) && d[i].publisher == OFFSETS_SENT -> deliver_begin_and_commit(i) }
    :: d_step { RUNS(i) && d[i].publisher == COMMITTING && txn[i].answer != NO_ANSWER ->
           commit_answered(i) }
    :: d_step { RUNS(i) && d[i].publisher == COMMIT_UNKNOWN && txn[i].state != PREPARE_COMMIT ->
           producer_acquire(i);
           d[i].publisher = READING_BACK }
    :: d_step { RUNS(i) && d[i].publisher == READING_BACK && READ_BACK_READY(i) -> read_back(i) }
    /* faults */
    :: d_step { RUNS(i) && d[i].publisher == OFFSETS_SENT && aborts < ABORTS ->
           transact_abort(i) }
    :: d_step { RUNS(i) && d[i].publisher == COMMITTING && unknowns < UNKNOWNS ->
           commit_unknown(i) }
    :: d_step { REFUSABLE(i, 0, 0) -> records_refused(i, 0, 0) }
    :: d_step { REFUSABLE(i, 0, 2) -> records_refused(i, 0, 2) }
    od
}

#endif

#define ALL_JOINED ((!member[0] || joined[0]) && (!member[1] || joined[1]))

proctype broker()
{
end:
    do
    :: atomic { preparing && (member[0] || member[1]) && ALL_JOINED -> rebalance_end() }
    :: d_step { member[0] && !IN_GROUP(0) -> session_times_out(0) }
    :: d_step { IN_GROUP(0) && d[0].session == CURRENT && renewals < RENEWALS -> echo(0) }
    :: d_step { member[1] && !IN_GROUP(1) -> session_times_out(1) }
    :: d_step { IN_GROUP(1) && d[1].session == CURRENT && renewals < RENEWALS -> echo(1) }
#ifdef AT_LEAST_ONCE
    :: d_step { txn[0].commit_sent -> records_arrive(0) }
    :: d_step { txn[1].commit_sent -> records_arrive(1) }
    :: d_step { txn[0].state == ONGOING -> offset_commit(0) }
    :: d_step { txn[1].state == ONGOING -> offset_commit(1) }
    /* what a killed process did not send */
    :: d_step { txn[0].commit_sent && d[0].life == DEAD -> txn[0].commit_sent = 0 }
    :: d_step { txn[1].commit_sent && d[1].life == DEAD -> txn[1].commit_sent = 0 }
    :: d_step { txn[0].state == ONGOING && d[0].life == DEAD -> transaction_clear(0) }
    :: d_step { txn[1].state == ONGOING && d[1].life == DEAD -> transaction_clear(1) }
#else
    :: d_step { txn[0].commit_sent -> end_transaction(0) }
    :: d_step { txn[1].commit_sent -> end_transaction(1) }
    :: d_step { txn[0].state == PREPARE_COMMIT -> write_markers(0) }
    :: d_step { txn[1].state == PREPARE_COMMIT -> write_markers(1) }
    :: d_step { txn[0].state == ONGOING && (!RUNS(0) || denied) -> transaction_times_out(0) }
    :: d_step { txn[1].state == ONGOING && !RUNS(1) -> transaction_times_out(1) }
#endif
    od
}

inline process_clear(i)
{
    partitions_deinit(i);
    batch_end(i);
    d[i].consumer = TAKING;
    d[i].session = NO_SESSION;
    d[i].mine = 0;
    d[i].known = 0;
    d[i].refused = 0;
    d[i].publisher = ACQUIRING
}

/* For a trace with the usual zombie: a process that is stopped while it has a batch. */
#ifdef PAUSE_WITH_BATCH
#define PAUSE_NOW(i) (d[i].publishing)
#else
#define PAUSE_NOW(i) true
#endif

inline crash(i)
{
    crashes++;
    EXCUSE;
    printf("%c  *** kill -9\n", NAME(i));
    process_clear(i);
    txn[i].answer = NO_ANSWER;
    d[i].life = DEAD
}

inline start(i)
{
    printf("%c  starts again\n", NAME(i));
    d[i].life = RUNNING
}

/* A stopped or dead process need not return as long as the other one runs. */
proctype faults()
{
end:
    do
    :: d_step { RUNS(0) && crashes < CRASHES -> crash(0) }
    :: d_step { RUNS(1) && crashes < CRASHES -> crash(1) }
    :: d_step { d[0].life == DEAD -> start(0) }
    :: d_step { d[1].life == DEAD -> start(1) }
    :: d_step { RUNS(0) && pauses < PAUSES && PAUSE_NOW(0) ->
           pauses++; d[0].life = PAUSED; printf("A  *** SIGSTOP\n") }
    :: d_step { RUNS(1) && pauses < PAUSES && PAUSE_NOW(1) ->
           pauses++; d[1].life = PAUSED; printf("B  *** SIGSTOP\n") }
    :: d_step { d[0].life == PAUSED -> d[0].life = RUNNING; printf("A  *** SIGCONT\n") }
    :: d_step { d[1].life == PAUSED -> d[1].life = RUNNING; printf("B  *** SIGCONT\n") }
    :: d_step { !preparing && rebalances < REBALANCES ->
           rebalances++;
           printf("group: *** rebalances\n");
           rebalance_begin() }
    :: d_step { RUNS(0) && !denied && DENIALS > 0 && !d[0].publishing &&
               (d[0].publisher == READY || d[0].publisher == ACQUIRING) -> deny(0) }
    :: ((RUNS(0) && !denied) || RUNS(1)) && !(RUNS(0) && RUNS(1)) -> break
    od
}

/* Runs when no other process can: then everything must be done. */
proctype end_of_run()
{
end:
    timeout ->
    d_step {
        for (p : 0 .. PARTITIONS - 1) {
            if
            :: visible[p] != EVENTS(p) ->
                printf("*** no step is possible: partition %d, events set(%d) have no outcome\n",
                       p, EVENTS(p) & ~visible[p])
            :: else
            fi;
            assert(visible[p] == EVENTS(p));
            INVARIANT((EVENTS(p) & ~DONE_OF(committed[p].offset, committed[p].metadata)) == 0)
        }
        INVARIANT(txn[0].state == EMPTY && txn[1].state == EMPTY)
    }
}

/* Starts with the group formed: A has the first partition, B the second one or none. */
init
{
    atomic {
        generation = 1;
        for (j : 0 .. DAEMONS - 1) {
            member[j] = 1;
            d[j].life = RUNNING;
            d[j].consumer = LOOKING;
            d[j].session = CURRENT;
            session_number[j] = 1;
            d[j].batch_session = NO_SESSION;
            d[j].publisher = READY;
            txn[j].state = EMPTY;
            txn[j].answer = NO_ANSWER
        }
        for (p : 0 .. PARTITIONS - 1) {
            owner[p] = p;
            d[p].mine = BIT(p)
        }
        run event_loop(0);
        run event_loop(1);
        run publisher_thread(0);
        run publisher_thread(1);
        run broker();
        run faults();
        run end_of_run()
    }
}
