/* Driver of SpAtten: headers only, C99 or C++17, for bare metal and for user space; docs/driver.md begins with an
 * example.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SPATTEN_H
#define SPATTEN_H

#include "spatten_access.h"   /* errors, hooks, access to registers and memory */
#include "spatten_commands.h" /* building commands; writing plans and tables */
#include "spatten_device.h"   /* finding a device; halt, reset, interrupts, faults, counters */
#include "spatten_formats.h"  /* generated: what lies in memory */
#include "spatten_queue.h"    /* opening and closing a queue; abort, resume */
#include "spatten_regs.h"     /* generated: registers */
#include "spatten_rings.h"    /* submitting commands, reading completions */

#endif
