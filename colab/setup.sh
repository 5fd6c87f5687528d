#!/usr/bin/env bash
# In Google Colab, as the first cell of a chapter, with ADDRESS the repository's:
#
#     !test -d rrg-book || git clone ADDRESS rrg-book
#     !bash rrg-book/colab/setup.sh
#     %cd rrg-book/notebooks
#
# Installs this edition of the library into the Python that the page runs in, not as a link to the folder: that would be seen only after a restart. Colab's
# own packages stay where they fit; the lock would replace some that Colab itself needs. The blank forms are made by tools that live in an environment of
# their own (`make release`, some minutes), and lie in build/release/self-study; BLANK_FORMS=no leaves them out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
"$python" -m pip install --quiet ".[pretrained,bert]"
"$python" -c 'from rrg_lib.book.edition import installed; print("rrg_lib, edition", installed(), "is installed")'
if [ "${BLANK_FORMS:-yes}" = yes ]; then
  make release PYTHON="$python"
fi
rrg doctor || test $? -eq 1
