/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of session tickets.
 *
 * The newest seals, the others only open. Whoever comes first after an hour makes the next one, so nobody needs a timer; the
 * oldest is overwritten by it, which is what makes recorded sessions safe from whoever gets at the memory later.
 *
 * A lock, for it is taken in handshakes alone, and for a copy of a key: what costs is done behind it.
 */
#include "tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include "lib/check.h"
#include "lib/mem.h"

enum { KEYS = 4, NAME_LEN = 16, AES_LEN = 32, MAC_LEN = 32, IV_LEN = 16 };

struct ticket_key {
    uint64_t made;                   /* when; 0: never */
    unsigned char name[NAME_LEN], aes[AES_LEN], mac[MAC_LEN];
};

struct tls_tickets {
    pthread_mutex_t lock;
    unsigned newest;
    struct ticket_key keys[KEYS];
};

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t = mem_zalloc(sizeof *t);
    check(pthread_mutex_init(&t->lock, NULL) == 0);
    return t;
}

void tls_tickets_free(struct tls_tickets **tp)
{
    struct tls_tickets *t = *tp;
    *tp = NULL;
    if (!t)
        return;
    OPENSSL_cleanse(t->keys, sizeof t->keys);
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

static bool key_make(struct ticket_key *key, uint64_t now)
{
    key->made = now ? now : 1;
    return RAND_bytes(key->name, NAME_LEN) == 1 && RAND_priv_bytes(key->aes, AES_LEN) == 1
           && RAND_priv_bytes(key->mac, MAC_LEN) == 1;
}

static bool is_old(const struct ticket_key *key, uint64_t now, uint64_t age)
{
    return key->made == 0 || (now > key->made && now - key->made >= age);
}

/* A copy of the newest key. */
static bool newest_take(struct tls_tickets *t, uint64_t now, struct ticket_key *key)
{
    bool ok = true;
    pthread_mutex_lock(&t->lock);
    if (is_old(&t->keys[t->newest], now, TLS_TICKETS_TURN)) {
        t->newest = (t->newest + 1) % KEYS;
        ok = key_make(&t->keys[t->newest], now);
        if (!ok)
            t->keys[t->newest].made = 0;
    }
    *key = t->keys[t->newest];
    pthread_mutex_unlock(&t->lock);
    return ok;
}

/* A copy of the key of that name; *newest: it is the one that seals. */
static bool named_take(struct tls_tickets *t, uint64_t now, const unsigned char *name, struct ticket_key *key, bool *newest)
{
    bool found = false;
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < KEYS && !found; i++) {
        const struct ticket_key *k = &t->keys[i];
        /* It sealed for an hour, and what it sealed last is good for as long as tickets live. */
        if (is_old(k, now, TLS_TICKETS_TURN + TLS_TICKETS_LIFE * 1000000000ull) || memcmp(k->name, name, NAME_LEN) != 0)
            continue;
        *key = *k;
        *newest = i == t->newest && !is_old(k, now, TLS_TICKETS_TURN);
        found = true;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool mac_set(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, MAC_LEN),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

int tls_tickets_use(struct tls_tickets *t, uint64_t now, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int sealing)
{
    struct ticket_key key = {0};
    bool newest = true;
    int res = -1;
    if (sealing) {
        if (newest_take(t, now, &key) && RAND_bytes(iv, IV_LEN) == 1) {
            memcpy(name, key.name, NAME_LEN);
            res = mac_set(mac, &key) && EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv) == 1 ? 1 : -1;
        }
    } else if (!named_take(t, now, name, &key, &newest)) {
        res = 0;                     /* a full handshake */
    } else if (mac_set(mac, &key) && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv) == 1) {
        res = newest ? 1 : 2;        /* 2: it is given a new one */
    }
    OPENSSL_cleanse(&key, sizeof key);
    return res;
}
