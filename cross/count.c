// Plugin of qemu-user for cross/count: counts executed arm64 instructions, by block of code and by kind, exactly.
//
// A block is what the emulator translates at once: straight code that is left at its end only. So one counter a block, added to when
// it is entered, is exact and cheap. A guest marks a region by reading its own CPU time, as programs that measure do: each odd
// clock_gettime(CLOCK_PROCESS_CPUTIME_ID) opens one, the next closes it. A system call ends its block, so borders are exact too.
// Counters are not atomic: exact for one thread.

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Of the emulator's interface, version 1 (QEMU 4.2 to 8.2), what is used here: Debian's packages have no header for it.
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
};
enum { QEMU_PLUGIN_INLINE_ADD_U64 };
extern void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned));
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *counter, uint64_t add);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t number, uint64_t, uint64_t,
                                                                           uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);
#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

// In the order of KINDS in cross/count.
enum kind { DOT, MMLA, WIDENING, FMLA, SIMD, SIMD_LOAD, SIMD_STORE, LOAD, STORE, BRANCH, OTHER, KINDS };

struct block {
    struct block *next;
    void *address; // in the emulator, where a file of the guest is mapped
    uint64_t entered, entered_before, entered_inside;
    unsigned length, of[KINDS];
};

static struct block *blocks;
static FILE *report;
static unsigned threads;
static bool open;

// Encodings: Arm Architecture Reference Manual, C4.1. Advanced SIMD and scalar floating point count as SIMD.
static bool is(uint32_t word, uint32_t mask, uint32_t value) { return (word & mask) == value; }

static enum kind kind(uint32_t word) {
    bool four_bytes_a_lane = is(word, 0x00c00000, 0x00800000);
    if (is(word, 0x0a000000, 0x08000000)) { // loads and stores
        bool simd = word & 0x04000000, bit22 = word & 0x00400000;
        bool register_form = is(word, 0x3a000000, 0x38000000), literal = is(word, 0x3b000000, 0x18000000);
        bool load = literal || bit22 || (register_form && !simd && (word & 0x00800000));
        return simd ? (load ? SIMD_LOAD : SIMD_STORE) : (load ? LOAD : STORE);
    }
    if (is(word, 0x0e000000, 0x0e000000)) {
        if (four_bytes_a_lane && (is(word, 0x9f20fc00, 0x0e009400) || is(word, 0x9f00f400, 0x0f00e000))) return DOT; // SDOT, UDOT
        if (is(word, 0xbfe0fc00, 0x0e809c00) || is(word, 0xbf40f400, 0x0f00f000)) return DOT;                        // USDOT, SUDOT
        if (is(word, 0xdfe0f400, 0x4e80a400)) return MMLA;
        if (is(word, 0x9f20bc00, 0x0e208000) || is(word, 0x9f007400, 0x0f002000)) return WIDENING;
        if (is(word, 0xbfa0fc00, 0x0e20cc00) || is(word, 0xbf80f400, 0x0f801000)) return FMLA;
        return SIMD;
    }
    return is(word, 0x1c000000, 0x14000000) && !is(word, 0xfe000000, 0xd4000000) ? BRANCH : OTHER;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    struct block *block = calloc(1, sizeof *block);
    if (!block) abort();
    block->length = (unsigned)qemu_plugin_tb_n_insns(tb);
    block->address = qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(tb, 0));
    for (unsigned i = 0; i < block->length; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof word);
        block->of[kind(word)]++;
    }
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->entered, 1);
}

static void write_sums(const char *name, bool since_opening) {
    uint64_t sums[KINDS] = {0};
    for (struct block *block = blocks; block; block = block->next) {
        uint64_t entered = block->entered - (since_opening ? block->entered_before : 0);
        for (int k = 0; k < KINDS; k++) sums[k] += entered * block->of[k];
    }
    fputs(name, report);
    for (int k = 0; k < KINDS; k++) fprintf(report, "\t%" PRIu64, sums[k]);
    fputc('\n', report);
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t clock, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
                   uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != 113 || clock != 2) return; // clock_gettime(CLOCK_PROCESS_CPUTIME_ID)
    if (open) write_sums("region", true);
    for (struct block *block = blocks; block; block = block->next) {
        if (open) block->entered_inside += block->entered - block->entered_before;
        block->entered_before = block->entered;
    }
    open = !open;
}

static void started(qemu_plugin_id_t id, unsigned cpu) {
    (void)id, (void)cpu;
    threads++;
}

static void ended(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    write_sums("whole", false);
    fprintf(report, "threads\t%u\nopen\t%d\n", threads, open);
    for (struct block *block = blocks; block; block = block->next)
        if (block->entered) {
            fprintf(report, "block\t%" PRIuPTR "\t%u\t%" PRIu64 "\t%" PRIu64, (uintptr_t)block->address, block->length, block->entered,
                    block->entered_inside);
            for (int k = 0; k < KINDS; k++) fprintf(report, "\t%u", block->of[k]);
            fputc('\n', report);
        }
    // The guest's memory is in the emulator's: which file each address was mapped from.
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096 + 256];
    while (maps && fgets(line, sizeof line, maps)) fprintf(report, "map\t%s", line);
    fclose(report);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int count, char **arguments) {
    if (strcmp(info->target_name, "aarch64") != 0 || info->system_emulation || count != 1 || strncmp(arguments[0], "report=", 7) != 0 ||
        !(report = fopen(arguments[0] + 7, "w"))) {
        fprintf(stderr, "cross/count: for qemu-aarch64, with report=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_init_cb(id, started);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
