"""From the files of a corpus to arrays: decode, find faces, crop them, compute spectrograms.

``prepare``        prepares a corpus once
``store``          reads a prepared corpus
``unprepared``     decodes single clips of a corpus that is not prepared
``clip_arrays``    what is kept of one clip
``media``          frames and sounds of video and sound files
``detector``       the face detector
``cropping``       the square around a face
``tracking``       a steady crop through a clip
``spectrograms``   from waveforms to mel spectrograms, and back
``picture_crops``  face crops of a folder of pictures
``inputs``         single pictures and sounds of users
``keys``           the hash that names a prepared corpus
``left_out``       what was left out, and why
"""
