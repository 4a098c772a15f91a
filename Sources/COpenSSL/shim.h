// What Swift cannot import from OpenSSL by itself: macros. Static inline shims only.
#ifndef HOLDFAST_COPENSSL_H
#define HOLDFAST_COPENSSL_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#endif
