/* A libcrypto_mb for any processor: the same symbols, OpenSSL's numbers inside, and faults on
 * demand. Programs of tests link it, so that the soname finds it; others find it with
 * LD_LIBRARY_PATH, and read PRESIGND_STAND_IN=FAULT:BATCHES at their start. */
#ifndef PRESIGND_TESTS_STAND_IN_H
#define PRESIGND_TESTS_STAND_IN_H

/* Each in slot 1, where not said otherwise. */
enum stand_in_fault {
    STAND_IN_NONE,
    STAND_IN_INAPPLICABLE, /* the processor lacks something */
    STAND_IN_WRONG,        /* a bit of the signature */
    STAND_IN_STATUS,       /* an error of the private operation; the signature is good */
    STAND_IN_SILENT,       /* no signature is written, and success is reported */
    STAND_IN_EXCHANGED,    /* slots 0 and 1 have each other's signature */
    STAND_IN_OPEN,         /* the public operation gives a wrong result */
    STAND_IN_OPEN_STATUS,  /* an error of the public operation */
    STAND_IN_SLOW,         /* 50 ms for each batch; all signatures are good */
    /* Of a public operation that does not follow a private one of its thread: it verifies. */
    STAND_IN_VERIFY,        /* a wrong result */
    STAND_IN_VERIFY_ALL,    /* in every slot */
    STAND_IN_VERIFY_STATUS, /* an error; the result is right */
    STAND_IN_VERIFY_SILENT, /* nothing is written, and success is reported, in every slot */
    STAND_IN_FAULTS
};

/* After `good` more batches, of verifying for a fault of it. */
void stand_in_set(enum stand_in_fault wanted, unsigned good);
/* Private operations since the start. */
unsigned stand_in_batches(void);
/* Public operations that verified. */
unsigned stand_in_verifications(void);

#endif
