// libnl's generic netlink, and the names that the kernel gives to the nbd family's messages.
#ifndef HOLDFAST_CNETLINK_H
#define HOLDFAST_CNETLINK_H

#include <linux/nbd-netlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#endif
