/* decreed snapshot …: what `decree snapshot` has done by a program that knows the store. */
#ifndef DECREE_CLI_BACKUP_MAIN_H
#define DECREE_CLI_BACKUP_MAIN_H

/* argv[0] is "snapshot".
 *     snapshot status FILE             one line of JSON to standard output
 *     snapshot restore FILE [options]  makes a data directory
 * Returns the exit code: 0, 1 when the file or the disk said no, 2 for a wrong command line. */
int backup_main(int argc, char **argv);

#endif
