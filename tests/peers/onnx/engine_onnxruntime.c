// onnxruntime's C library behind the engine protocol of README.md, with one thread: the peer where there is no Python, on emulated arm64.
//
//     ONNXRUNTIME=libonnxruntime.so.1 engine_onnxruntime MODEL.onnx --inputs DIR [--outputs DIR] --batch N --threads 1 --repeat R
//
// Each measured run lies between two readings of the process's CPU time: what cross/count takes for a region.

#include <ctype.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// onnxruntime's wheels come without the header. Its functions are a table, to which versions only append: these are their places in it.
enum {
    GetErrorMessage = 2,
    CreateEnv = 3,
    DisableTelemetryEvents = 6,
    CreateSession = 7,
    Run = 9,
    CreateSessionOptions = 10,
    SetIntraOpNumThreads = 24,
    SetInterOpNumThreads = 25,
    SessionGetInputCount = 30,
    SessionGetOutputCount = 31,
    SessionGetInputName = 36,
    SessionGetOutputName = 37,
    CreateTensorWithDataAsOrtValue = 49,
    GetTensorMutableData = 51,
    GetTensorElementType = 60,
    GetDimensionsCount = 61,
    GetDimensions = 62,
    GetTensorTypeAndShape = 65,
    CreateCpuMemoryInfo = 69,
    GetAllocatorWithDefaultOptions = 78,
    ReleaseValue = 96,
};
enum { VERSION = 1, ERRORS = 3, ARENA_ALLOCATOR = 1, DEFAULT_MEMORY = 0, MOST = 16 };
struct base {
    void *const *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
};
static void *const *api;
#define CALL(name, ...) check(((void *(*)())api[name])(__VA_ARGS__))

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void check(void *status) {
    if (status) fail("onnxruntime", ((const char *(*)(const void *))api[GetErrorMessage])(status));
}

// Types by onnxruntime's number.
static const struct {
    const char *code;
    size_t size;
} TYPES[] = {{"", 0},    {"<f4", 4}, {"|u1", 1}, {"|i1", 1}, {"<u2", 2}, {"<i2", 2}, {"<i4", 4},
             {"<i8", 8}, {"", 0},    {"|b1", 1}, {"<f2", 2}, {"<f8", 8}, {"<u4", 4}, {"<u8", 8}};
enum { TYPE_COUNT = sizeof TYPES / sizeof *TYPES };

// Items stacked along the first axis.
struct array {
    char *name, *data;
    int64_t shape[MOST], items;
    size_t rank, item_size;
    int type;
};

static char *path(const char *folder, const char *name) {
    char *file = malloc(strlen(folder) + strlen(name) + 6);
    char *end = file + sprintf(file, "%s/", folder);
    for (; *name; name++) *end++ = isalnum((unsigned char)*name) || strchr("_.-", *name) ? *name : '_';
    strcpy(end, ".npy");
    return file;
}

// Version 1 of numpy.lib.format.
static struct array read_array(const char *folder, char *name) {
    struct array array = {.name = name, .item_size = 1};
    char *file = path(folder, name), start[10], *header;
    FILE *from = fopen(file, "rb");
    if (!from || fread(start, 1, 10, from) != 10) fail(file, "cannot be read");
    size_t length = (unsigned char)start[8] | (unsigned char)start[9] << 8;
    header = calloc(1, length + 1);
    if (fread(header, 1, length, from) != length) fail(file, "is no array that numpy wrote");
    for (int type = 1; type < TYPE_COUNT; type++)
        if (*TYPES[type].code && strstr(header, TYPES[type].code)) array.type = type;
    char *shape = strstr(header, "'shape': (");
    if (!array.type || !shape) fail(file, "is no array that numpy wrote, or of a type that is not known here");
    for (shape += 10; isdigit((unsigned char)*shape) && array.rank < MOST; shape += strspn(shape, ", "))
        array.shape[array.rank++] = strtoll(shape, &shape, 10);
    array.items = array.rank ? array.shape[0] : 1;
    for (size_t i = 1; i < array.rank; i++) array.item_size *= (size_t)array.shape[i];
    array.item_size *= TYPES[array.type].size;
    array.data = malloc(array.item_size * (size_t)array.items);
    if (fread(array.data, array.item_size, (size_t)array.items, from) != (size_t)array.items) fail(file, "ends too early");
    fclose(from);
    free(header);
    free(file);
    return array;
}

static void write_array(const struct array *array, const char *file) {
    char header[512];
    int length = sprintf(header, "{'descr': '%s', 'fortran_order': False, 'shape': (", TYPES[array->type].code);
    for (size_t i = 0; i < array->rank; i++) length += sprintf(header + length, "%lld,", (long long)(i ? array->shape[i] : array->items));
    length += sprintf(header + length, "), }");
    length += sprintf(header + length, "%*s\n", 63 - (10 + length) % 64, "");
    FILE *to = fopen(file, "wb");
    if (!to) fail(file, "cannot be written");
    fprintf(to, "\x93NUMPY\x01%c%c%c%s", 0, length & 255, length >> 8, header);
    fwrite(array->data, array->item_size, (size_t)array->items, to);
    if (fclose(to)) fail(file, "cannot be written");
}

static void append(struct array *all, void *value) {
    void *shape, *data;
    CALL(GetTensorTypeAndShape, value, &shape);
    CALL(GetTensorElementType, shape, &all->type);
    CALL(GetDimensionsCount, shape, &all->rank);
    bool known = all->rank >= 1 && all->rank <= MOST && all->type < TYPE_COUNT && TYPES[all->type].size;
    if (!known) fail(all->name, "an output of a kind that is not known here");
    CALL(GetDimensions, shape, all->shape, all->rank);
    all->item_size = TYPES[all->type].size;
    for (size_t i = 1; i < all->rank; i++) all->item_size *= (size_t)all->shape[i];
    all->data = realloc(all->data, all->item_size * (size_t)(all->items + all->shape[0]));
    CALL(GetTensorMutableData, value, &data);
    memcpy(all->data + all->item_size * (size_t)all->items, data, all->item_size * (size_t)all->shape[0]);
    all->items += all->shape[0];
}

static void *session, *memory;
static struct array inputs[MOST], outputs[MOST];
static size_t input_count, output_count;

// Runs `size` items from `first` on, cyclically; the caller releases the results. Returns the CPU time in microseconds if it is `measured`.
static double run(int64_t first, int64_t size, bool measured, void *results[MOST]) {
    void *values[MOST];
    char *parts[MOST], *input_names[MOST], *output_names[MOST];
    for (size_t i = 0; i < input_count; i++) {
        const struct array *input = &inputs[i];
        int64_t shape[MOST];
        memcpy(shape, input->shape, sizeof shape);
        shape[0] = size;
        size_t each = input->item_size, bytes = each * (size_t)size;
        parts[i] = malloc(bytes);
        for (int64_t item = 0; item < size; item++)
            memcpy(parts[i] + each * (size_t)item, input->data + each * (size_t)((first + item) % input->items), each);
        CALL(CreateTensorWithDataAsOrtValue, memory, parts[i], bytes, shape, input->rank, input->type, &values[i]);
        input_names[i] = input->name;
    }
    for (size_t i = 0; i < output_count; i++) results[i] = NULL, output_names[i] = outputs[i].name;
    struct timespec before = {0}, after = {0};
    if (measured) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    void *status = ((void *(*)())api[Run])(session, NULL, input_names, values, input_count, output_names, output_count, results);
    if (measured) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    check(status);
    for (size_t i = 0; i < input_count; i++) ((void (*)(void *))api[ReleaseValue])(values[i]), free(parts[i]);
    return (double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_nsec - before.tv_nsec) / 1e3;
}

static void release(void *results[MOST]) {
    for (size_t i = 0; i < output_count; i++) ((void (*)(void *))api[ReleaseValue])(results[i]);
}

int main(int count, char **arguments) {
    const char *model = NULL, *from = NULL, *to = NULL, *file = getenv("ONNXRUNTIME");
    long long batch = 1, repeat = 0;
    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? arguments[i + 1] : "";
        if (arguments[i][0] != '-') {
            model = arguments[i];
            continue;
        }
        i++;
        if (!strcmp(arguments[i - 1], "--inputs")) from = value;
        else if (!strcmp(arguments[i - 1], "--outputs")) to = value;
        else if (!strcmp(arguments[i - 1], "--batch")) batch = atoll(value);
        else if (!strcmp(arguments[i - 1], "--repeat")) repeat = atoll(value);
        else if (strcmp(arguments[i - 1], "--threads") || strcmp(value, "1")) fail(arguments[i - 1], "is not known here, or wants 1");
    }
    if (!model || !from || !file || batch < 1)
        fail("engine_onnxruntime", "wants MODEL, --inputs DIR, --batch from 1 on, and ONNXRUNTIME, the library");

    void *library = dlopen(file, RTLD_NOW);
    if (!library) fail(file, dlerror());
    const struct base *(*base)(void) = (const struct base *(*)(void))dlsym(library, "OrtGetApiBase");
    if (!base || !(api = base()->get_api(VERSION))) fail(file, "is no onnxruntime");
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    void *environment, *options, *allocator;
    CALL(CreateEnv, ERRORS, "peer", &environment);
    CALL(DisableTelemetryEvents, environment);
    CALL(CreateSessionOptions, &options);
    CALL(SetIntraOpNumThreads, options, 1);
    CALL(SetInterOpNumThreads, options, 1);
    CALL(CreateSession, environment, model, options, &session);
    clock_gettime(CLOCK_MONOTONIC, &after);
    CALL(GetAllocatorWithDefaultOptions, &allocator);
    CALL(CreateCpuMemoryInfo, ARENA_ALLOCATOR, DEFAULT_MEMORY, &memory);
    CALL(SessionGetInputCount, session, &input_count);
    CALL(SessionGetOutputCount, session, &output_count);
    if (input_count < 1 || input_count > MOST || output_count > MOST) fail(model, "too many inputs or outputs");
    for (size_t i = 0; i < input_count; i++) {
        char *name;
        CALL(SessionGetInputName, session, i, allocator, &name);
        inputs[i] = read_array(from, name);
    }
    for (size_t i = 0; i < output_count; i++) CALL(SessionGetOutputName, session, i, allocator, &outputs[i].name);

    printf("{\"load_ms\": %.3f", (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6);
    void *results[MOST];
    if (to) {
        for (int64_t at = 0; at < inputs[0].items; at += batch) {
            run(at, at + batch < inputs[0].items ? batch : inputs[0].items - at, false, results);
            for (size_t i = 0; i < output_count; i++) append(&outputs[i], results[i]);
            release(results);
        }
        printf(", \"outputs\": [");
        for (size_t i = 0; i < output_count; i++) {
            char *written = path(to, outputs[i].name);
            write_array(&outputs[i], written);
            printf("%s\"%s\"", i ? ", " : "", written);
        }
        printf("]");
    }
    if (repeat > 0) {
        double used = 0;
        for (int64_t i = -1; i < repeat; i++) { // the first is not measured
            used += run((i + 1) * batch, batch, i >= 0, results);
            release(results);
        }
        printf(", \"cpu_us_per_item\": %.3f", used / (double)(repeat * batch));
    }
    printf("}\n");
    return 0;
}
