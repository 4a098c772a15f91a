// libnbd's C interface, as Debian's libnbd-dev installs it.
#include <libnbd.h>
