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
static inline int copenssl_set_server_name(SSL *_Nonnull s, const char *_Nonnull name) {
    return (int)SSL_set_tlsext_host_name(s, name);
}
static inline void copenssl_clear_retry(BIO *_Nonnull b) { BIO_clear_retry_flags(b); }
static inline void copenssl_retry_read(BIO *_Nonnull b) { BIO_set_retry_read(b); }
static inline void copenssl_retry_write(BIO *_Nonnull b) { BIO_set_retry_write(b); }

typedef void (*copenssl_name_taker)(
    void *_Nonnull context, const unsigned char *_Nonnull name, int count);
/// Hands over each name that a certificate gives its owner: common names, and those of the alternative
/// names that are text (hosts, mail addresses, documents). None ends with a zero byte.
static inline void copenssl_each_name(
    X509 *_Nonnull certificate, void *_Nonnull context, copenssl_name_taker _Nonnull take) {
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = -1;
    while (subject && (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0) {
        unsigned char *text = NULL;
        int count = ASN1_STRING_to_UTF8(
            &text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
        if (count >= 0 && text) take(context, text, count);
        OPENSSL_free(text);
    }
    GENERAL_NAMES *others =
        (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; others && i < sk_GENERAL_NAME_num(others); i++) {
        int type = 0;
        const void *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(others, i), &type);
        if (type != GEN_DNS && type != GEN_EMAIL && type != GEN_URI) continue;
        const ASN1_STRING *text = (const ASN1_STRING *)value;
        if (text) take(context, ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
    }
    GENERAL_NAMES_free(others);
}

#endif
