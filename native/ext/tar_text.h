/* The number and text forms that tar headers are written in. Each returns false for what is not valid. */
#ifndef TRIMARAN_TAR_TEXT_H
#define TRIMARAN_TAR_TEXT_H

#include "tar.h"

/* A numeric header field: octal text, or base-256 (GNU) if the first bit is set. Blank is 0. */
bool tar_parse_field(const uint8_t *field, size_t size, int64_t *value);

/* Decimal digits and nothing else, from TEXT up to END. */
bool tar_parse_decimal(const char *text, const char *end, uint64_t *value);

/* A PAX time: seconds with an optional sign and fraction; what is finer than a nanosecond is cut off. */
bool tar_parse_time(const char *text, struct tar_time *time);

/* In place: %XX becomes the byte. A NUL byte is not valid. */
bool tar_decode_percent(char *text);

/* In place: base64 with or without padding; *SIZE becomes the size of the bytes. */
bool tar_decode_base64(char *text, size_t *size);

/* Whether the header's checksum is right, summed unsigned (POSIX) or signed (old Sun tar). */
bool tar_checksum_matches(const uint8_t *block);

#endif
