// What Swift cannot import from OpenSSL by itself: macros. Static inline shims only.
#ifndef HOLDFAST_COPENSSL_H
#define HOLDFAST_COPENSSL_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

static inline int copenssl_require_tls13(SSL_CTX *_Nonnull c) {
    return (int)SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
}
/// No state is kept between connections, and a peer that dies is a peer that closes.
static inline void copenssl_keep_no_sessions(SSL_CTX *_Nonnull c) {
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(
        c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
}
static inline void copenssl_read_ahead(SSL_CTX *_Nonnull c) { SSL_CTX_set_read_ahead(c, 1); }
static inline int copenssl_set_server_name(SSL *_Nonnull s, const char *_Nonnull name) {
    return (int)SSL_set_tlsext_host_name(s, name);
}
static inline void copenssl_clear_retry(BIO *_Nonnull b) { BIO_clear_retry_flags(b); }
static inline void copenssl_retry_read(BIO *_Nonnull b) { BIO_set_retry_read(b); }
static inline void copenssl_retry_write(BIO *_Nonnull b) { BIO_set_retry_write(b); }

#endif
