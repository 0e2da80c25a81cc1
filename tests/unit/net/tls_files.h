/* tls_files.h: a test authority and its certificates, made with the openssl command in a folder of
 * its own when a test program begins. */
#ifndef GANTRY_TEST_TLS_FILES_H
#define GANTRY_TEST_TLS_FILES_H

#include <stdbool.h>

/* Makes the folder and in it, each as NAME.pem and NAME.key:
 *   ca, other-ca     two authorities
 *   server           localhost and 127.0.0.1, by ca
 *   server2          the same names, another key
 *   wrong            elsewhere.example, by ca
 *   expired          localhost, by ca, no longer valid
 *   client           common name robot-1, by ca
 *   stranger         common name robot-1, by other-ca
 * False if the openssl command fails. */
bool tls_files_make(void);
void tls_files_remove(void);
/* Path of a file in the folder; the last 64 results stay valid. */
const char *tls_file(const char *name);
/* Copies one file of the folder over another, by rename. */
bool tls_file_copy(const char *from, const char *to);

#endif
