/* Samples the CPU time of this process, and says of each sample whether its thread holds the interpreter's
   lock. Time without a CPU gives no samples, so the load of the machine counts little.

   The stack of a sample is written by Python, where it lets others call this, else by its faulthandler, whose
   handler of SIGPROF was installed before. A sample within a call finds a frame that is not complete, and has a
   part of its stack; faulthandler writes no more after that. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

extern int PyGILState_Check(void);
extern void *PyGILState_GetThisThreadState(void);
extern void _Py_DumpTraceback(int file, void *thread) __attribute__((weak));

static struct sigaction stack_writer;
static int output;
static volatile int is_writing;
static volatile int reads_frames; /* these three are of the thread that writes */
static pthread_t reader;
static sigjmp_buf after_stack;

static void leave_stack(int number) {
    if (reads_frames && pthread_equal(reader, pthread_self())) siglongjmp(after_stack, 1);
    signal(number, SIG_DFL);
}

static void sample(int number) {
    int error = errno; /* writing a stack sets it, and what was interrupted may be about to read it */
    while (__sync_lock_test_and_set(&is_writing, 1)) {}
    void *thread = PyGILState_GetThisThreadState();
    const char *kind = !thread ? "@ no thread of Python\n" : PyGILState_Check() ? "@ locked\n" : "@ unlocked\n";
    reader = pthread_self();
    reads_frames = 1;
    if (write(output, kind, strlen(kind)) > 0 && thread && !sigsetjmp(after_stack, 1)) {
        if (_Py_DumpTraceback)
            _Py_DumpTraceback(output, thread);
        else
            stack_writer.sa_handler(number);
    }
    reads_frames = 0;
    __sync_lock_release(&is_writing);
    errno = error;
}

int start(int file, int per_second) {
    struct sigaction action = {.sa_handler = sample, .sa_flags = SA_RESTART}, leave = {.sa_handler = leave_stack};
    struct itimerval every = {{0, 1000000 / per_second}, {0, 1000000 / per_second}};
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGSEGV);
    sigaction(SIGSEGV, &leave, 0);
    sigaction(SIGPROF, &action, &stack_writer);
    output = file;
    return setitimer(ITIMER_PROF, &every, 0);
}
