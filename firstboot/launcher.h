/* Replant's first boot service. It runs on Windows Server 2008 R2 and everything later, x64, and uses no C
 * library: kernel32 and advapi32 are all that it imports. */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#define WIN32_LEAN_AND_MEAN
#define UNICODE
#define _UNICODE
#include <windows.h>

/* text.c: strings without a C library. */

/* A text in a buffer that it never outgrows: what does not fit is left out, and `cut` says so. */
struct wide {
    WCHAR *text;
    DWORD length, room; /* characters; the room is for the final NUL too */
    BOOL cut;
};
void wide_start(struct wide *wide, WCHAR *buffer, DWORD room);
void wide_add(struct wide *wide, const WCHAR *text);
void wide_add_bytes(struct wide *wide, UINT code_page, const char *bytes, DWORD length);
void wide_add_number(struct wide *wide, DWORD number);
BOOL same(const char *one, const char *other);
DWORD length_of(const char *text);
/* The rest after a prefix, or NULL. */
const char *after(const char *text, const char *prefix);
BOOL number_in(const char **text, DWORD most, DWORD *number);
BOOL number_is(const char *text, DWORD most, DWORD *number);
DWORD crc32_of(const char *bytes, DWORD length);
/* A whole file with a NUL behind it, from the heap; NULL with the error in GetLastError. */
char *read_file(const WCHAR *path, DWORD most, DWORD *length);

/* log.c: what happened, in the log and on the serial port. */

void log_open(const WCHAR *path);
/* One line. %s text, %w wide text, %u number, %t milliseconds as seconds. */
void say(const char *format, ...);
/* What a step prints; `log_output_ends` writes a line that is not ended. */
void log_output(const char *bytes, DWORD length);
void log_output_ends(void);

/* steps.c: the list that Replant wrote. */

enum kind { RUN, UNINSTALL, DISKS };
enum status { PENDING, SUCCEEDED, FAILED, SKIPPED };
#define MOST_STEPS 256
#define MOST_CODES 8
struct step {
    const char *name;
    enum kind kind;
    const char *value;   /* command line, or the product's name */
    const char *adapter; /* NULL, or a MAC: 02:00:00:0a:0b:0c */
    const char *when;    /* NULL, "all-succeeded", or "succeeded NAME" */
    DWORD timeout, attempts, pause; /* seconds, count, seconds */
    DWORD codes[MOST_CODES], codes_count;
    const char *proof; /* NULL, or the service that is there once it worked: it may restart the machine itself */
    BOOL optional; /* its failure is none of the first boot's */
    enum status status;
    DWORD used; /* attempts that began */
};
struct list {
    DWORD starts, restarts; /* most starts of this service, most restarts by it */
    DWORD crc;              /* its checksum, which tells it from other lists */
    struct step steps[MOST_STEPS];
    DWORD count;
};
/* NULL, or what is wrong with the file. Not one step of a damaged list is used. */
const char *list_read(struct list *list, char *bytes, DWORD length);
struct step *list_find(struct list *list, const char *name);
/* A command with its tokens replaced: {system}, {here}, {adapter}, {{. */
BOOL expand(struct wide *out, const char *value, const WCHAR *here, DWORD adapter);

/* run.c: a step's process. */

enum ending { ENDED, TIMED_OUT, STOPPED, NOT_STARTED };
enum ending run(WCHAR *command, const WCHAR *directory, DWORD seconds, HANDLE stop, DWORD *code);

/* machine.c: what no program of Windows does alike on all its versions. */

#define MOST_ADAPTERS 16
/* Indexes of the Ethernet adapters with this MAC. */
DWORD adapters(const char *mac, DWORD *indexes);
#define GUID_LENGTH 38
#define MOST_PRODUCTS 8
/* Product codes of what Windows Installer installed under this name. */
DWORD products(const char *name, WCHAR codes[MOST_PRODUCTS][GUID_LENGTH + 1]);
/* Brings all disks online, writable. False when one refused. */
BOOL disks_online(void);
/* Whether a service or driver is registered, and not disabled. */
BOOL service_is_there(const char *name);
BOOL restart_machine(void);
BOOL remove_service(const WCHAR *name);

#endif
