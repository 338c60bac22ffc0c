/* The store process: the node, its doors and the loop they share. */
#ifndef DECREE_CLI_STORE_MAIN_H
#define DECREE_CLI_STORE_MAIN_H

#include "options.h"

/* Runs until SIGTERM or SIGINT (0), or until it cannot go on: 2 for what a person must set right
 * before a start can succeed (a port in use, a folder of another cluster), 1 for the rest. What was
 * wrong has been logged. */
int store_main(const struct options *o);

#endif
