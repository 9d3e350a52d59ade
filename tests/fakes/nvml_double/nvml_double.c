/* A stand-in for the NVIDIA driver's library, so that the real pynvml runs on a machine without a card.
 *
 * It answers from the text file named by $NVML_DOUBLE_STATE, which it reads anew at every call, so a test changes the
 * machine by writing the file. One statement a line:
 *   init CODE                   nvmlInit answers this nvmlReturn_t
 *   hang FUNCTION               FUNCTION does not return while this line is there
 *   card KEY=VALUE ...          one card; keys: uuid, name ('_' is a space), total, used, reserved (MiB), util (%),
 *                               temp (deg C), power (mW), monitor (1: one is plugged in), display (1: active), lost (1: no handle is given
 *                               any more; 2: one is, and answers nothing else), unsupported (comma-separated figures),
 *                               procs (comma-separated KIND:PID:MiB with KIND c or g, MiB -1 = "not available"),
 *                               use (comma-separated PID:%:AGE, the program's use of the card AGE seconds ago)
 * Built with -DOLD_DRIVER it lacks the calls that came with newer drivers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int Result;
enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, LOST = 15, UNKNOWN = 999 };
enum { MAX_CARDS = 16, MAX_PROCS = 16 };
#define MIB (1024ull * 1024ull)

typedef struct { char kind; unsigned pid; long long mib; } Proc;
typedef struct { unsigned pid, percent; double age; } Use;
typedef struct {
    char uuid[96], name[96], unsupported[200];
    unsigned long long total, used, reserved;
    unsigned util, temp, power;
    int lost, monitor, display, procs_n, uses_n;
    Proc procs[MAX_PROCS];
    Use uses[MAX_PROCS];
} Card;
typedef struct { int init, cards_n; char hang[96]; Card cards[MAX_CARDS]; } State;

static int initialised;
static char handles[64][96]; /* a handle is a card's uuid, kept for good: it must survive a change of the order */
static int stays_lost[64];   /* by handle: a lost card answers again only to a fresh initialisation */

static void read_card(char *text, Card *card) {
    char *next, *pair, *value;
    memset(card, 0, sizeof *card);
    for (pair = strtok_r(text, " \n", &next); pair; pair = strtok_r(NULL, " \n", &next)) {
        if (!(value = strchr(pair, '='))) continue;
        *value++ = 0;
        if (!strcmp(pair, "uuid")) snprintf(card->uuid, sizeof card->uuid, "%s", value);
        else if (!strcmp(pair, "name")) {
            snprintf(card->name, sizeof card->name, "%s", value);
            for (char *c = card->name; *c; c++) if (*c == '_') *c = ' ';
        } else if (!strcmp(pair, "unsupported")) snprintf(card->unsupported, sizeof card->unsupported, ",%s,", value);
        else if (!strcmp(pair, "total")) card->total = strtoull(value, NULL, 10);
        else if (!strcmp(pair, "used")) card->used = strtoull(value, NULL, 10);
        else if (!strcmp(pair, "reserved")) card->reserved = strtoull(value, NULL, 10);
        else if (!strcmp(pair, "util")) card->util = (unsigned)atoi(value);
        else if (!strcmp(pair, "temp")) card->temp = (unsigned)atoi(value);
        else if (!strcmp(pair, "power")) card->power = (unsigned)atoi(value);
        else if (!strcmp(pair, "lost")) card->lost = atoi(value);
        else if (!strcmp(pair, "monitor")) card->monitor = atoi(value);
        else if (!strcmp(pair, "display")) card->display = atoi(value);
        else if (!strcmp(pair, "procs")) {
            char *rest, *one;
            for (one = strtok_r(value, ",", &rest); one && card->procs_n < MAX_PROCS; one = strtok_r(NULL, ",", &rest)) {
                Proc *p = &card->procs[card->procs_n];
                if (sscanf(one, "%c:%u:%lld", &p->kind, &p->pid, &p->mib) == 3) card->procs_n++;
            }
        } else if (!strcmp(pair, "use")) {
            char *rest, *one;
            for (one = strtok_r(value, ",", &rest); one && card->uses_n < MAX_PROCS; one = strtok_r(NULL, ",", &rest)) {
                Use *u = &card->uses[card->uses_n];
                if (sscanf(one, "%u:%u:%lf", &u->pid, &u->percent, &u->age) == 3) card->uses_n++;
            }
        }
    }
}

static void read_state(State *state) {
    char line[2048];
    const char *path = getenv("NVML_DOUBLE_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    memset(state, 0, sizeof *state);
    if (!file) return;
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "init ", 5)) state->init = atoi(line + 5);
        else if (!strncmp(line, "hang ", 5)) sscanf(line + 5, "%95s", state->hang);
        else if (!strncmp(line, "card ", 5) && state->cards_n < MAX_CARDS)
            read_card(line + 5, &state->cards[state->cards_n++]);
    }
    fclose(file);
}

/* Reads the state and stays here while it tells this function to hang. */
static void enter(const char *function, State *state) {
    for (read_state(state); !strcmp(state->hang, function); read_state(state)) usleep(2000);
}

static int number_of(const char *uuid) {
    for (int i = 0; i < 63; i++) {
        if (!handles[i][0]) snprintf(handles[i], sizeof handles[i], "%s", uuid);
        if (!strcmp(handles[i], uuid)) return i;
    }
    return 63;
}

static int is_lost(const Card *card) {
    int *lost = &stays_lost[number_of(card->uuid)];
    return *lost = *lost || card->lost;
}

/* The card behind a handle, or why not. `figure` is what the caller wants to read of it. */
static Result find(const char *function, void *handle, const char *figure, State *state, Card **card) {
    char key[64];
    enter(function, state);
    if (!initialised) return UNINITIALIZED;
    if (!handle) return INVALID;
    snprintf(key, sizeof key, ",%s,", figure);
    for (int i = 0; i < state->cards_n; i++) {
        *card = &state->cards[i];
        if (strcmp((*card)->uuid, (char *)handle)) continue;
        if (is_lost(*card)) return LOST;
        return strstr((*card)->unsupported, key) ? NOT_SUPPORTED : OK;
    }
    return LOST;
}
#define FIND(figure) State s; Card *card; Result r = find(__func__, handle, figure, &s, &card); if (r) return r

Result nvmlInitWithFlags(unsigned flags) {
    State s;
    (void)flags;
    enter(__func__, &s);
    if (s.init) return s.init;
    initialised++;
    return OK;
}
Result nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
Result nvmlShutdown(void) {
    if (!initialised) return UNINITIALIZED;
    if (!--initialised) memset(stays_lost, 0, sizeof stays_lost);
    return OK;
}
const char *nvmlErrorString(Result r) { return r == UNKNOWN ? "Unknown Error" : "an error of the double"; }

Result nvmlDeviceGetCount_v2(unsigned *count) {
    State s;
    enter(__func__, &s);
    if (!initialised) return UNINITIALIZED;
    if (s.init) return s.init; /* the driver was unloaded under us */
    *count = (unsigned)s.cards_n;
    return OK;
}
Result nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    State s;
    enter(__func__, &s);
    if (!initialised) return UNINITIALIZED;
    if ((int)index >= s.cards_n) return INVALID;
    if (is_lost(&s.cards[index]) && s.cards[index].lost != 2) return LOST;
    *handle = handles[number_of(s.cards[index].uuid)];
    return OK;
}
Result nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    FIND("uuid");
    snprintf(text, length, "%s", card->uuid);
    return OK;
}
Result nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    FIND("name");
    snprintf(text, length, "%s", card->name);
    return OK;
}

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
Result nvmlDeviceGetMemoryInfo(void *handle, Memory *m) {
    FIND("memory");
    m->total = card->total * MIB;
    m->used = (card->used + card->reserved) * MIB; /* version 1 cannot tell them apart */
    m->free = m->total - m->used;
    return OK;
}
#ifndef OLD_DRIVER
Result nvmlDeviceGetMemoryInfo_v2(void *handle, Memory2 *m) {
    FIND("memory");
    if (m->version != (2u << 24 | sizeof(Memory2))) return 25; /* argument version mismatch */
    m->total = card->total * MIB;
    m->used = card->used * MIB;
    m->reserved = card->reserved * MIB;
    m->free = m->total - m->used - m->reserved;
    return OK;
}
#endif
Result nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates) {
    FIND("utilisation");
    rates[0] = card->util;
    rates[1] = card->util / 2;
    return OK;
}
Result nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *celsius) {
    FIND("temperature");
    if (sensor) return INVALID;
    *celsius = card->temp;
    return OK;
}
Result nvmlDeviceGetDisplayMode(void *handle, int *is_on) {
    FIND("display");
    *is_on = card->monitor;
    return OK;
}
Result nvmlDeviceGetDisplayActive(void *handle, int *is_on) {
    FIND("display");
    *is_on = card->display;
    return OK;
}
Result nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
    FIND("power");
    *milliwatts = card->power;
    return OK;
}

typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } ProcessInfo;
static Result list(Card *card, char kind, unsigned *count, ProcessInfo *into) {
    unsigned room = *count, n = 0;
    for (int i = 0; i < card->procs_n; i++) {
        Proc *p = &card->procs[i];
        if (p->kind != kind) continue;
        if (into && n < room) {
            into[n].pid = p->pid;
            into[n].used = p->mib < 0 ? ~0ull : (unsigned long long)p->mib * MIB;
            into[n].gpu_instance = into[n].compute_instance = ~0u;
        }
        n++;
    }
    *count = n;
    return n > room ? SMALL : OK;
}
Result nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, ProcessInfo *into) {
    FIND("compute");
    return list(card, 'c', count, into);
}
Result nvmlDeviceGetGraphicsRunningProcesses_v2(void *handle, unsigned *count, ProcessInfo *into) {
    FIND("graphics");
    return list(card, 'g', count, into);
}
#ifndef OLD_DRIVER
Result nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, ProcessInfo *into) {
    FIND("compute");
    return list(card, 'c', count, into);
}
Result nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, ProcessInfo *into) {
    FIND("graphics");
    return list(card, 'g', count, into);
}
#endif

typedef struct { unsigned pid; unsigned long long at; unsigned sm, mem, enc, dec; } UseSample;
Result nvmlDeviceGetProcessUtilization(void *handle, UseSample *into, unsigned *count, unsigned long long since) {
    struct timespec now;
    unsigned room = *count, n = 0;
    FIND("use");
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < card->uses_n; i++) {
        Use *u = &card->uses[i];
        unsigned long long at = now.tv_sec * 1000000ull + now.tv_nsec / 1000 - (unsigned long long)(u->age * 1e6);
        if (at <= since) continue;
        if (into && n < room) into[n] = (UseSample){u->pid, at, u->percent, u->percent / 2, 0, 0};
        n++;
    }
    *count = n;
    return n == 0 ? NOT_FOUND : n > room || !into ? SMALL : OK;
}
