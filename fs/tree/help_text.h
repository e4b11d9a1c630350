// SPDX-License-Identifier: MIT
//
// The page of help that a mount carries as MNT/README.
#ifndef FS_TREE_HELP_TEXT_H
#define FS_TREE_HELP_TEXT_H

extern const char help_text[];

#endif
