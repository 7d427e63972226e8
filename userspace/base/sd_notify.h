// SPDX-License-Identifier: Apache-2.0
// systemd's readiness protocol (sd_notify(3)). Threads: any.
#ifndef FAIRLEAD_USERSPACE_BASE_SD_NOTIFY_H_
#define FAIRLEAD_USERSPACE_BASE_SD_NOTIFY_H_

namespace fairlead {

// Sends READY=1 to $NOTIFY_SOCKET; does nothing without one.
void NotifyReady();

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_SD_NOTIFY_H_
