#include "tar_text.h"

#include <string.h>

static bool parse_base256(const uint8_t *field, size_t size, int64_t *value)
{
    /* Two's complement, big-endian; the first bit is the marker and the second the sign. */
    uint8_t inverse = field[0] & 0x40 ? 0xff : 0x00;
    uint64_t number = 0;

    for (size_t i = 0; i < size; i++) {
        uint8_t byte = field[i] ^ inverse;
        if (i == 0)
            byte &= 0x7f;
        if (number >> 56)
            return false;
        number = number << 8 | byte;
    }
    if (number >> 63)
        return false;
    *value = inverse ? ~(int64_t)number : (int64_t)number;
    return true;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\0';
}

bool tar_parse_field(const uint8_t *field, size_t size, int64_t *value)
{
    uint64_t number = 0;

    if (field[0] & 0x80)
        return parse_base256(field, size, value);
    while (size && is_blank(field[0])) {
        field++;
        size--;
    }
    while (size && is_blank(field[size - 1]))
        size--;
    for (size_t i = 0; i < size && field[i]; i++) {
        if (field[i] < '0' || field[i] > '7' || number >> 60)
            return false;
        number = number << 3 | (uint64_t)(field[i] - '0');
    }
    *value = (int64_t)number;
    return true;
}

bool tar_parse_decimal(const char *text, const char *end, uint64_t *value)
{
    uint64_t number = 0;

    if (text == end)
        return false;
    for (; text < end; text++) {
        uint64_t digit = (uint64_t)(unsigned char)*text - '0';
        if (digit > 9 || number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *value = number;
    return true;
}

static bool parse_fraction(const char *text, int32_t *nanoseconds)
{
    int32_t unit = 100000000;

    *nanoseconds = 0;
    for (; *text; text++, unit /= 10) {
        if (*text < '0' || *text > '9')
            return false;
        *nanoseconds += (*text - '0') * unit;
    }
    return true;
}

bool tar_parse_time(const char *text, struct tar_time *time)
{
    bool negative = *text == '-';
    uint64_t seconds;

    text += negative;
    const char *end = text + strcspn(text, ".");
    if (!tar_parse_decimal(text, end, &seconds) || seconds > INT64_MAX - 1)
        return false;
    if (!parse_fraction(*end ? end + 1 : end, &time->nanoseconds))
        return false;
    time->seconds = negative ? -(int64_t)seconds : (int64_t)seconds;
    if (negative && time->nanoseconds) {
        time->seconds--;
        time->nanoseconds = 1000000000 - time->nanoseconds;
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool tar_decode_percent(char *text)
{
    char *out = text;

    for (; *text; text++) {
        if (*text != '%') {
            *out++ = *text;
            continue;
        }
        int high = hex_digit(text[1]);
        int low = high < 0 ? -1 : hex_digit(text[2]);
        if (low < 0 || !(high << 4 | low))
            return false;
        *out++ = (char)(high << 4 | low);
        text += 2;
    }
    *out = '\0';
    return true;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool tar_decode_base64(char *text, size_t *size)
{
    size_t length = strlen(text), out = 0;
    uint32_t bits = 0;
    int count = 0;

    for (int padding = 0; padding < 2 && length && text[length - 1] == '='; padding++)
        length--;
    for (size_t i = 0; i < length; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        count += 6;
        if (count >= 8) {
            count -= 8;
            text[out++] = (char)(bits >> count);
        }
    }
    *size = out;
    return length % 4 != 1;
}

bool tar_checksum_matches(const uint8_t *block)
{
    enum { OFFSET = 148, SIZE = 8 };
    int64_t stated, plain = 0, with_sign = 0;

    for (size_t i = 0; i < TAR_BLOCK; i++) {
        uint8_t byte = i >= OFFSET && i < OFFSET + SIZE ? ' ' : block[i];
        plain += byte;
        with_sign += (int8_t)byte;
    }
    return tar_parse_field(block + OFFSET, SIZE, &stated) && (stated == plain || stated == with_sign);
}
