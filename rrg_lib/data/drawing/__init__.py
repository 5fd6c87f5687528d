"""The drawing of IU-Phantom, a small file a part: film (masks and exposure), anatomy, the two views, and the findings.

A view is a stack of five layers (`Layers`): what stands in the beam's way (tissue, bone, markings, metal) and what lets
it through (air). A finding changes layers the way the disease does: an opacity takes air away, a pneumothorax takes
markings away, a nodule adds tissue. Everything is measured in film units: 256 to a side, x to the right, y down, and
the image's left is the patient's right.
"""
