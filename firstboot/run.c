/* A step's process, in a job of its own: what it leaves behind when its time is over is killed with it. */
#include "launcher.h"

/* How often the process is looked at, in milliseconds. */
#define TICK 100
/* Most bytes that are taken from a process at a time, so that one that never stops printing is still timed. */
#define MOST_AT_ONCE (64 * 1024)
/* How long killed processes may take to be gone, in milliseconds. */
#define KILL_WAIT 10000

static void drain(HANDLE pipe) {
    static char bytes[4096];
    DWORD taken = 0, there, length;
    while (taken < MOST_AT_ONCE && PeekNamedPipe(pipe, NULL, 0, NULL, &there, NULL) && there) {
        if (!ReadFile(pipe, bytes, min(there, sizeof bytes), &length, NULL) || !length) return;
        log_output(bytes, length);
        taken += length;
    }
}

static void limit(HANDLE job, DWORD flags) {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;
    memset(&limits, 0, sizeof limits);
    limits.BasicLimitInformation.LimitFlags = flags;
    SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
}

static void kill(HANDLE job, HANDLE process) {
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION accounts;
    ULONGLONG end = GetTickCount64() + KILL_WAIT;
    TerminateJobObject(job, ERROR_TIMEOUT);
    /* It is not in the job where Windows before version 8 had started this service in one. */
    TerminateProcess(process, ERROR_TIMEOUT);
    WaitForSingleObject(process, KILL_WAIT);
    while (GetTickCount64() < end
           && QueryInformationJobObject(job, JobObjectBasicAccountingInformation, &accounts, sizeof accounts, NULL)
           && accounts.ActiveProcesses) {
        Sleep(TICK);
    }
}

static enum ending watch(HANDLE job, HANDLE process, HANDLE pipe, DWORD seconds, HANDLE stop) {
    ULONGLONG end = GetTickCount64() + (ULONGLONG)seconds * 1000;
    HANDLE both[2];
    both[0] = process;
    both[1] = stop;
    for (;;) {
        DWORD which = WaitForMultipleObjects(2, both, FALSE, TICK);
        drain(pipe);
        if (which == WAIT_OBJECT_0) {
            /* What it started and left is its own affair: an installer may start what it installed. */
            limit(job, 0);
            return ENDED;
        }
        if (which == WAIT_OBJECT_0 + 1 || GetTickCount64() >= end) {
            kill(job, process);
            drain(pipe);
            return which == WAIT_OBJECT_0 + 1 ? STOPPED : TIMED_OUT;
        }
    }
}

enum ending run(WCHAR *command, const WCHAR *directory, DWORD seconds, HANDLE stop, DWORD *code) {
    SECURITY_ATTRIBUTES inherited;
    STARTUPINFOW start;
    PROCESS_INFORMATION process;
    HANDLE read = NULL, write = NULL, nothing, job;
    enum ending ending = NOT_STARTED;
    memset(&inherited, 0, sizeof inherited);
    inherited.nLength = sizeof inherited;
    inherited.bInheritHandle = TRUE;
    memset(&start, 0, sizeof start);
    start.cb = sizeof start;
    start.dwFlags = STARTF_USESTDHANDLES | STARTF_USESHOWWINDOW;
    start.wShowWindow = SW_HIDE;
    job = CreateJobObjectW(NULL, NULL);
    if (!job || !CreatePipe(&read, &write, &inherited, MOST_AT_ONCE)) {
        *code = GetLastError();
        if (job) CloseHandle(job);
        return NOT_STARTED;
    }
    limit(job, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE);
    SetHandleInformation(read, HANDLE_FLAG_INHERIT, 0);
    nothing = CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited, OPEN_EXISTING, 0, NULL);
    start.hStdInput = nothing;
    start.hStdOutput = start.hStdError = write;
    /* Suspended, so that it is in the job before it can start anything. */
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, CREATE_SUSPENDED | CREATE_NO_WINDOW, NULL, directory, &start,
                        &process)) {
        *code = GetLastError();
    } else {
        if (!AssignProcessToJobObject(job, process.hProcess)) {
            say("its children cannot be killed with it: Windows error %u", GetLastError());
        }
        CloseHandle(write);
        write = NULL;
        ResumeThread(process.hThread);
        CloseHandle(process.hThread);
        ending = watch(job, process.hProcess, read, seconds, stop);
        if (!GetExitCodeProcess(process.hProcess, code)) *code = GetLastError();
        CloseHandle(process.hProcess);
    }
    log_output_ends();
    if (write) CloseHandle(write);
    if (nothing != INVALID_HANDLE_VALUE) CloseHandle(nothing);
    CloseHandle(read);
    CloseHandle(job);
    return ending;
}
