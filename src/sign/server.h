/* The side that holds the keys: signing threads, and the thread that reads keys. The same code runs
 * in the daemon and in the signing process. */
#ifndef PRESIGND_SIGN_SERVER_H
#define PRESIGND_SIGN_SERVER_H

#include "presignd/sign/permit.h"

/* Serves requests from `keys` until the other side closes it, and starts the threads that sign what
 * comes from `jobs`, both blocking sockets. Ends those threads, frees the keys and closes both. */
void sign_serve(int jobs, int keys, sign_path_fn *may_post);

#endif
